//! `pantala migrate mosca`.

use super::{Folder, Outcome, done, failed, pantala};

/// From Mosca 2.8.3's own tests, but for the glob; the password is "test".
const MOSCAS: &str = r#"{"test":{"salt":"GA1QpOkAuPaGMdSJ5PWWgjktjrX3sq260vVjfpK73BQmkGDuJNvKfeojklKz/S7S5aV7NkYo5XGXCp0Srz+OmQ==","hash":"ogGQjB9cgQudJB6Zx3jRsMLJguoThvY+T+smEx2ODVZz3yrVo+64EtYnNn7/fujvpMCnx+BWIuFQrUQyk18P4TgD3w6ajf5SKhRLTJ9uH8GWB5nES4qUMCmSYPDtwNIFOhT+0C/+8ZydSpIiFuk5gbAjrReRzHQcuQmdxDTIuOg=","authorizePublish":"a/**","authorizeSubscribe":"**"}}"#;

fn migrate(file: &str, passwords: &str, acl: &str) -> Outcome {
    pantala(&["migrate", "mosca", file, "--passwords", passwords, "--acl", acl], "")
}

#[test]
fn users_of_mosca_log_in_and_do_as_before() {
    let folder = Folder::new();
    let (file, users, acl) =
        (folder.write("credentials.json", MOSCAS), folder.name("users"), folder.name("acl"));
    assert_eq!(
        migrate(&file, &users, &acl),
        done(&format!("1 user in {users}, what they may do in {acl}\n"))
    );
    assert_eq!(
        pantala(&["user", "verify", "--file", &users, "test"], "test\n"),
        done("this is test's password\n")
    );
    let ask = |question, topic| {
        pantala(&["acl", "test", "--file", &acl, "--user", "test", question, topic], "").code
    };
    assert_eq!(
        (ask("publish", "a/b"), ask("publish", "b"), ask("subscribe", "$SYS/#")),
        (Some(0), Some(1), Some(0))
    );

    let again = failed(1, &format!("pantala: {users}: is there already\n"));
    assert_eq!(migrate(&file, &users, &acl), again, "what was changed since is not lost");
}

#[test]
fn what_has_no_filter_is_named_and_left_out() {
    let folder = Folder::new();
    let file = folder.write("credentials.json", &MOSCAS.replace("a/**", "dev-*"));
    let (users, acl) = (folder.name("users"), folder.name("acl"));
    let outcome = Outcome {
        code: Some(1),
        out: format!("1 user in {users}, what they may do in {acl}\n"),
        err: format!(
            "{file}: left out: user \"test\" may not publish to \"dev-*\" any more: in a filter a wildcard stands for a \
             whole level\n"
        ),
    };
    assert_eq!(migrate(&file, &users, &acl), outcome);
    assert!(folder.text("acl").contains("\n# Left out: publish to \"dev-*\""), "{}", folder.text("acl"));
    assert_eq!(migrate(&folder.write("other.json", "[]"), &users, &acl).code, Some(2));
}
