/* Records what a process does to the files below one folder, so that a power cut can be played on a copy of it.
 *
 * Loaded with LD_PRELOAD. POWERCUT_DIR is the folder, POWERCUT_LOG the file that the record goes to; without both it does
 * nothing. POWERCUT_SYNC_US makes each sync take so much longer: a real disk takes its time, in which most of what a power
 * cut can damage is under way. Each call is recorded after it succeeded and before it returns. Calls that change files are
 * carried out under one lock, so that the record has their order; fsync and fdatasync are recorded when they begin and
 * again when they have returned, since what is written while they run is not covered.
 *
 * POWERCUT_FAIL is a file: while it is there, the next fsync or fdatasync of a file below the folder whose path has in it
 * what is in that file fails with EIO and takes it away. What it should have covered is void from then on, as on Linux,
 * which forgets what it could not write: that is recorded.
 *
 * What bypasses libc is not seen, except that every record of a file has its length afterwards: that is enough for
 * fallocate. tests/crash/power.rs compares the record with the folder, so nothing else can be missed for long.
 *
 * A record, in the machine's byte order: a struct header, then `path` bytes of path, then `data` bytes of data.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum op { OPEN = 1, WRITE, TRUNCATE, LENGTH, SYNC_BEGIN, SYNC_END, RENAME, REMOVE, MKDIR, SYNC_ALL_BEGIN, SYNC_ALL_END, SYNC_FAILED };

struct header {
    uint32_t op;
    uint32_t path;
    uint64_t handle; /* of an open file; never used twice */
    uint64_t offset; /* OPEN: whether it was emptied; SYNC_*: the number of the sync */
    uint64_t size;   /* of the file afterwards */
    uint64_t data;
};

#define FDS 65536
static uint64_t handles[FDS]; /* 0: not below the folder */
static uint64_t next_handle = 1, next_sync = 1;
static char folder[PATH_MAX];
static size_t folder_len;
static int out = -1;
static useconds_t sync_us;
static const char *fail_next;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(result, name, ...) \
    static result (*name)(__VA_ARGS__) __attribute__((unused))
REAL(int, real_openat, int, const char *, int, ...);
REAL(int, real_close, int);
REAL(int, real_fcntl, int, int, ...);
REAL(int, real_dup, int);
REAL(ssize_t, real_write, int, const void *, size_t);
REAL(ssize_t, real_writev, int, const struct iovec *, int);
REAL(ssize_t, real_pwrite, int, const void *, size_t, off64_t);
REAL(ssize_t, real_pwritev, int, const struct iovec *, int, off64_t);
REAL(int, real_ftruncate, int, off64_t);
REAL(int, real_fallocate, int, int, off64_t, off64_t);
REAL(int, real_posix_fallocate, int, off64_t, off64_t);
REAL(int, real_fsync, int);
REAL(int, real_fdatasync, int);
REAL(void, real_sync, void);
REAL(int, real_renameat2, int, const char *, int, const char *, unsigned);
REAL(int, real_unlinkat, int, const char *, int);
REAL(int, real_mkdirat, int, const char *, mode_t);
REAL(ssize_t, real_copy_file_range, int, off64_t *, int, off64_t *, size_t, unsigned);
REAL(ssize_t, real_sendfile, int, int, off64_t *, size_t);

static void fail(const char *what) {
    dprintf(2, "powercut: %s: %s\n", what, strerror(errno));
    abort();
}

static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) fail(name);
    return found;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void start(void) {
    real_openat = real("openat64");
    real_close = real("close");
    real_fcntl = real("fcntl64");
    real_dup = real("dup");
    real_write = real("write");
    real_writev = real("writev");
    real_pwrite = real("pwrite64");
    real_pwritev = real("pwritev64");
    real_ftruncate = real("ftruncate64");
    real_fallocate = real("fallocate64");
    real_posix_fallocate = real("posix_fallocate64");
    real_fsync = real("fsync");
    real_fdatasync = real("fdatasync");
    real_sync = real("sync");
    real_renameat2 = real("renameat2");
    real_unlinkat = real("unlinkat");
    real_mkdirat = real("mkdirat");
    real_copy_file_range = real("copy_file_range");
    real_sendfile = real("sendfile64");
    const char *dir = getenv("POWERCUT_DIR"), *log = getenv("POWERCUT_LOG");
    if (!dir || !log) return;
    const char *us = getenv("POWERCUT_SYNC_US");
    sync_us = us ? (useconds_t)atoi(us) : 0;
    fail_next = getenv("POWERCUT_FAIL");
    folder_len = strlen(dir);
    if (folder_len == 0 || folder_len >= sizeof folder || dir[0] != '/') fail("POWERCUT_DIR");
    memcpy(folder, dir, folder_len + 1);
    out = real_openat(AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (out < 0) fail(log);
}

__attribute__((constructor)) static void load(void) { pthread_once(&once, start); }

static void ready(void) { pthread_once(&once, start); }

/* The part of an absolute path below the folder, "" for the folder itself; NULL for what is not in it. */
static const char *within(const char *path) {
    if (out < 0 || strncmp(path, folder, folder_len) != 0) return NULL;
    if (path[folder_len] == 0) return path + folder_len;
    if (path[folder_len] != '/') return NULL;
    path += folder_len;
    while (*path == '/') path++;
    return path;
}

/* As above for a path that may be relative. */
static const char *below(int dir, const char *path, char buffer[PATH_MAX]) {
    if (out < 0) return NULL;
    if (path[0] == '/') return within(path);
    char base[PATH_MAX];
    ssize_t len;
    if (dir == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) return NULL;
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
        len = readlink(link, base, sizeof base - 1);
        if (len < 0) return NULL;
        base[len] = 0;
    }
    len = snprintf(buffer, PATH_MAX, "%s/%s", base, path);
    return len < PATH_MAX ? within(buffer) : NULL;
}

static uint64_t handle_of(int fd) { return fd >= 0 && fd < FDS ? handles[fd] : 0; }

static void set_handle(int fd, uint64_t handle) {
    if (fd >= FDS && handle) fail("too many files");
    if (fd >= 0 && fd < FDS) handles[fd] = handle;
}

static uint64_t size_of(int fd) {
    struct stat stat;
    if (fstat(fd, &stat) < 0) fail("fstat");
    return (uint64_t)stat.st_size;
}

/* Under the lock. */
static void record(struct header header, const char *path, size_t path_len, const struct iovec *data, int parts) {
    struct iovec all[2 + 64];
    if (parts > 64) fail("more parts than it is made for");
    header.path = (uint32_t)path_len;
    for (int i = 0; i < parts; i++) all[2 + i] = data[i];
    all[0] = (struct iovec){&header, sizeof header};
    all[1] = (struct iovec){(void *)path, path_len};
    size_t left = sizeof header + path_len + header.data;
    /* The last part may be longer than what was written. */
    size_t sum = 0;
    int count = 0;
    for (; count < 2 + parts && sum < left; count++) {
        if (sum + all[count].iov_len > left) all[count].iov_len = left - sum;
        sum += all[count].iov_len;
    }
    int saved = errno;
    if (real_writev(out, all, count) != (ssize_t)left) fail("the record");
    errno = saved;
}

static int opened(int dir, const char *path, int flags, mode_t mode) {
    ready();
    char buffer[PATH_MAX];
    const char *name = below(dir, path, buffer);
    if (!name) {
        int fd = real_openat(dir, path, flags, mode);
        set_handle(fd, 0);
        return fd;
    }
    pthread_mutex_lock(&lock);
    int fd = real_openat(dir, path, flags, mode);
    if (fd >= 0) {
        set_handle(fd, next_handle++);
        struct header header = {.op = OPEN, .handle = handle_of(fd), .offset = (flags & O_TRUNC) != 0};
        struct stat stat;
        if (fstat(fd, &stat) < 0) fail("fstat");
        header.size = S_ISDIR(stat.st_mode) ? UINT64_MAX : (uint64_t)stat.st_size;
        record(header, name, strlen(name), NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

static mode_t mode_of(int flags, va_list rest) {
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, mode_t) : 0;
}

#define OPENING(name, dir, ...)               \
    int name(__VA_ARGS__, int flags, ...) {   \
        va_list rest;                         \
        va_start(rest, flags);                \
        mode_t mode = mode_of(flags, rest);   \
        va_end(rest);                         \
        return opened(dir, path, flags, mode); \
    }
OPENING(open, AT_FDCWD, const char *path)
OPENING(open64, AT_FDCWD, const char *path)
OPENING(openat, dir, int dir, const char *path)
OPENING(openat64, dir, int dir, const char *path)

int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

int close(int fd) {
    ready();
    /* Before its number can be given to another file. */
    set_handle(fd, 0);
    return real_close(fd);
}

int dup(int fd) {
    ready();
    int copy = real_dup(fd);
    if (copy >= 0) set_handle(copy, handle_of(fd));
    return copy;
}

static int controlled(int fd, int command, void *argument) {
    ready();
    int result = real_fcntl(fd, command, argument);
    if ((command == F_DUPFD || command == F_DUPFD_CLOEXEC) && result >= 0) set_handle(result, handle_of(fd));
    return result;
}

#define CONTROLLING(name)                          \
    int name(int fd, int command, ...) {           \
        va_list rest;                              \
        va_start(rest, command);                   \
        void *argument = va_arg(rest, void *);     \
        va_end(rest);                              \
        return controlled(fd, command, argument);  \
    }
CONTROLLING(fcntl)
CONTROLLING(fcntl64)

/* Carries out a write under the lock and records it; `at` is where, or -1 for where the file stands. */
static ssize_t written(int fd, const struct iovec *parts, int count, off64_t at, int positioned) {
    pthread_mutex_lock(&lock);
    ssize_t result = positioned ? real_pwritev(fd, parts, count, at) : real_writev(fd, parts, count);
    if (result > 0) {
        struct header header = {.op = WRITE, .handle = handle_of(fd), .size = size_of(fd), .data = (uint64_t)result};
        header.offset = (uint64_t)(positioned ? at : lseek64(fd, 0, SEEK_CUR) - result);
        record(header, NULL, 0, parts, count);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

ssize_t write(int fd, const void *bytes, size_t len) {
    ready();
    if (!handle_of(fd)) return real_write(fd, bytes, len);
    return written(fd, &(struct iovec){(void *)bytes, len}, 1, 0, 0);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    ready();
    if (!handle_of(fd)) return real_writev(fd, parts, count);
    return written(fd, parts, count < 64 ? count : 64, 0, 0);
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at) {
    ready();
    if (!handle_of(fd)) return real_pwrite(fd, bytes, len, at);
    return written(fd, &(struct iovec){(void *)bytes, len}, 1, at, 1);
}
ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at) { return pwrite64(fd, bytes, len, at); }

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
    ready();
    if (!handle_of(fd)) return real_pwritev(fd, parts, count, at);
    return written(fd, parts, count < 64 ? count : 64, at, 1);
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) { return pwritev64(fd, parts, count, at); }

/* These would write without a buffer of ours. Callers have to do without them. */
ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t len, unsigned flags) {
    ready();
    if (!handle_of(to)) return real_copy_file_range(from, from_at, to, to_at, len, flags);
    errno = ENOSYS;
    return -1;
}
ssize_t sendfile64(int to, int from, off64_t *at, size_t len) {
    ready();
    if (!handle_of(to)) return real_sendfile(to, from, at, len);
    errno = ENOSYS;
    return -1;
}
ssize_t sendfile(int to, int from, off_t *at, size_t len) { return sendfile64(to, from, at, len); }

/* Records the length that a file has now. */
static void sized(int fd, enum op op) {
    struct header header = {.op = op, .handle = handle_of(fd), .size = size_of(fd)};
    record(header, NULL, 0, NULL, 0);
}

/* Records a hole as what is read from it, of which a power cut may leave any part. */
static void zeroed(int fd, off64_t at, off64_t len) {
    uint64_t size = size_of(fd), from = (uint64_t)at, to = from + (uint64_t)len;
    if (to > size) to = size;
    if (from >= to) return;
    void *zeros = calloc(1, to - from);
    if (!zeros) fail("a hole");
    struct header header = {.op = WRITE, .handle = handle_of(fd), .offset = from, .size = size, .data = to - from};
    record(header, NULL, 0, &(struct iovec){zeros, to - from}, 1);
    free(zeros);
}

int ftruncate64(int fd, off64_t len) {
    ready();
    if (!handle_of(fd)) return real_ftruncate(fd, len);
    pthread_mutex_lock(&lock);
    int result = real_ftruncate(fd, len);
    if (result == 0) sized(fd, TRUNCATE);
    pthread_mutex_unlock(&lock);
    return result;
}
int ftruncate(int fd, off_t len) { return ftruncate64(fd, len); }

int fallocate64(int fd, int mode, off64_t at, off64_t len) {
    ready();
    if (!handle_of(fd)) return real_fallocate(fd, mode, at, len);
    int hole = mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
    if (mode != 0 && !hole) {
        errno = EOPNOTSUPP;
        return -1;
    }
    pthread_mutex_lock(&lock);
    int result = real_fallocate(fd, mode, at, len);
    if (result == 0 && hole) zeroed(fd, at, len);
    if (result == 0 && !hole) sized(fd, LENGTH);
    pthread_mutex_unlock(&lock);
    return result;
}
int fallocate(int fd, int mode, off_t at, off_t len) { return fallocate64(fd, mode, at, len); }

int posix_fallocate64(int fd, off64_t at, off64_t len) {
    ready();
    if (!handle_of(fd)) return real_posix_fallocate(fd, at, len);
    pthread_mutex_lock(&lock);
    int result = real_posix_fallocate(fd, at, len);
    if (result == 0) sized(fd, LENGTH);
    pthread_mutex_unlock(&lock);
    return result;
}
int posix_fallocate(int fd, off_t at, off_t len) { return posix_fallocate64(fd, at, len); }

/* Whether the next sync of this file is to fail; it is only once. Under the lock. */
static int is_to_fail(int fd) {
    int order = fail_next ? real_openat(AT_FDCWD, fail_next, O_RDONLY | O_CLOEXEC) : -1;
    if (order < 0) return 0;
    char part[256], link[64], path[PATH_MAX];
    ssize_t len = read(order, part, sizeof part - 1);
    real_close(order);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t path_len = readlink(link, path, sizeof path - 1);
    if (len <= 0 || path_len < 0) return 0;
    part[len] = path[path_len] = 0;
    return strstr(path, part) && real_unlinkat(AT_FDCWD, fail_next, 0) == 0;
}

static int synced(int fd, int (*sync)(int)) {
    uint64_t handle = handle_of(fd);
    if (!handle) return sync(fd);
    struct stat stat;
    pthread_mutex_lock(&lock);
    if (fstat(fd, &stat) < 0) fail("fstat");
    uint64_t size = S_ISDIR(stat.st_mode) ? UINT64_MAX : (uint64_t)stat.st_size;
    struct header header = {.op = SYNC_BEGIN, .handle = handle, .offset = next_sync++, .size = size};
    record(header, NULL, 0, NULL, 0);
    int fails = !S_ISDIR(stat.st_mode) && is_to_fail(fd);
    if (fails) {
        header.op = SYNC_FAILED;
        record(header, NULL, 0, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    if (fails) {
        errno = EIO;
        return -1;
    }
    if (sync_us) usleep(sync_us);
    int result = sync(fd);
    if (result == 0) {
        pthread_mutex_lock(&lock);
        header.op = SYNC_END;
        record(header, NULL, 0, NULL, 0);
        pthread_mutex_unlock(&lock);
    }
    return result;
}

int fsync(int fd) {
    ready();
    return synced(fd, real_fsync);
}
int fdatasync(int fd) {
    ready();
    return synced(fd, real_fdatasync);
}

/* A program that the process runs may sync for it: the number of such a sync is that of the program. */
void sync(void) {
    ready();
    struct header header = {.op = SYNC_ALL_BEGIN, .handle = (uint64_t)getpid()};
    pthread_mutex_lock(&lock);
    if (out >= 0) record(header, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    real_sync();
    header.op = SYNC_ALL_END;
    pthread_mutex_lock(&lock);
    if (out >= 0) record(header, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    ready();
    char from_buffer[PATH_MAX], to_buffer[PATH_MAX], both[2 * PATH_MAX];
    const char *old = below(from_dir, from, from_buffer), *new = below(to_dir, to, to_buffer);
    if (!old && !new) return real_renameat2(from_dir, from, to_dir, to, flags);
    if (!old || !new || flags) fail("a rename that cannot be played back");
    size_t old_len = strlen(old) + 1, new_len = strlen(new);
    memcpy(both, old, old_len);
    memcpy(both + old_len, new, new_len);
    pthread_mutex_lock(&lock);
    int result = real_renameat2(from_dir, from, to_dir, to, flags);
    if (result == 0) record((struct header){.op = RENAME}, both, old_len + new_len, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}
int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    return renameat2(from_dir, from, to_dir, to, 0);
}
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

int unlinkat(int dir, const char *path, int flags) {
    ready();
    char buffer[PATH_MAX];
    const char *name = below(dir, path, buffer);
    if (!name) return real_unlinkat(dir, path, flags);
    pthread_mutex_lock(&lock);
    int result = real_unlinkat(dir, path, flags);
    if (result == 0) record((struct header){.op = REMOVE}, name, strlen(name), NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdirat(int dir, const char *path, mode_t mode) {
    ready();
    char buffer[PATH_MAX];
    const char *name = below(dir, path, buffer);
    if (!name) return real_mkdirat(dir, path, mode);
    pthread_mutex_lock(&lock);
    int result = real_mkdirat(dir, path, mode);
    if (result == 0) record((struct header){.op = MKDIR}, name, strlen(name), NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }
