/* What 5.0 added: scenarios without an argument. */
void run_message_properties(const char *unused);
void run_subscription_options(const char *unused);
void run_shared(const char *unused);
void run_aliases(const char *unused);
void run_maximum_packet_size(const char *unused);
void run_reason_codes(const char *unused);
void run_goodbyes(const char *unused);
