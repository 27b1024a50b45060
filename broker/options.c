/* SPDX-License-Identifier: MIT */
/*
 * The option table. It exists so that an option is one row: what may be written, where it is kept,
 * what holds without it, whether a reload changes it, and what the manual says. The parser, the
 * sample configuration, the reference and the reload are generated from or driven by it, so they
 * cannot disagree. It owns nothing and is never written; any thread reads it. Behind the options
 * that noctule has stand all others of mosquitto, with what becomes of them.
 */
#include "broker/options.h"

#include <string.h>
#include <strings.h>

#include "broker/config.h"
#include "broker/log.h"
#include "broker/proxy.h"

#define AT(type, field) .offset = offsetof(type, field), .size = sizeof((type){ 0 }.field)
#define GLOBAL(field)   .scope = SCOPE_GLOBAL, AT(struct config, field)
#define LISTENER(field) .scope = SCOPE_LISTENER, AT(struct listener_config, field)
#define SECURITY(field) .scope = SCOPE_SECURITY, AT(struct listener_config, field)

/* clang-format off */
static const struct option_word auto_word[] = { { "auto", 0, NULL }, { 0 } };

static const struct option_word protocols[] = {
    { "mqtt",       LISTENER_MQTT,       NULL },
    { "websockets", LISTENER_WEBSOCKETS, NULL },
    { 0 },
};

static const struct option_word domains[] = { { "ipv4", 4, NULL }, { "ipv6", 6, NULL }, { 0 } };

static const struct option_word proxy_protocols[] = {
    { "false", 0,                   NULL },
    { "1",     PROXY_V1,            NULL },
    { "2",     PROXY_V2,            NULL },
    { "true",  PROXY_V1 | PROXY_V2, NULL },
    { 0 },
};

static const struct option_word versions[] = {
    { "3", ACCEPT_MQTT_31,  NULL },
    { "4", ACCEPT_MQTT_311, NULL },
    { "5", ACCEPT_MQTT_5,   NULL },
    { 0 },
};

static const struct option_word tls_versions[] = {
    { "tlsv1.2", TLS_1_2, NULL },
    { "tlsv1.3", TLS_1_3, NULL },
    { "tlsv1.1", TLS_1_2, "TLS 1.1 is not offered; the smallest version is tlsv1.2" },
    { 0 },
};

static const struct option_word log_types[] = {
    { "error",       LEVEL_ERROR,       NULL },
    { "warning",     LEVEL_WARNING,     NULL },
    { "notice",      LEVEL_NOTICE,      NULL },
    { "information", LEVEL_INFORMATION, NULL },
    { "debug",       LEVEL_DEBUG,       NULL },
    { "subscribe",   LEVEL_SUBSCRIBE,   NULL },
    { "unsubscribe", LEVEL_UNSUBSCRIBE, NULL },
    { "websockets",  LEVEL_WEBSOCKETS,  NULL },
    { "internal",    LEVEL_INTERNAL,    NULL },
    { "none",        LOG_MASK_NONE,     NULL },
    { "all",         LOG_MASK_ALL,      NULL },
    { 0 },
};

static const struct option_word log_dests[] = {
    { "stderr", LOG_TO_STDERR, NULL },
    { "stdout", LOG_TO_STDOUT, NULL },
    { "syslog", LOG_TO_SYSLOG, NULL },
    { "topic",  LOG_TO_TOPIC,  NULL },
    { "file",   LOG_TO_FILE,   NULL },
    { "none",   0,             NULL },
    { 0 },
};

static const struct option_word facilities[] = {
    { "0", 0, NULL }, { "1", 1, NULL }, { "2", 2, NULL }, { "3", 3, NULL },
    { "4", 4, NULL }, { "5", 5, NULL }, { "6", 6, NULL }, { "7", 7, NULL },
    { "daemon", CONFIG_LOG_FACILITY_DAEMON, NULL },
    { 0 },
};

/* Of mosquitto, and not here: the second argument is the value that asks for nothing, the third
 * what to know. */
#define IGNORED(word, nothing, why) \
    { .key = (word), .status = OPTION_IGNORED, .neutral = (nothing), .help = (why) }
#define REFUSED(word, nothing, why) \
    { .key = (word), .status = OPTION_REFUSED, .neutral = (nothing), .help = (why) }
#define BRIDGE(word) { .key = (word), .status = OPTION_BRIDGE }

#define TEBI (UINT64_C(1) << 40)

const struct option option_table[] = {

{ .status = OPTION_TITLE, .title = "The process",
  .help = "Who the broker is on this machine." },

{ .key = "workers", .type = OPT_COUNT, GLOBAL(workers),
  .words = auto_word, .max = 256, .preset = "auto",
  .help = "Threads that serve connections. With auto there is one for each CPU that the "
          "process may use." },
{ .key = "user", .type = OPT_TEXT, GLOBAL(user),
  .max = 64, .preset = "noctule",
  .help = "Started by root, the broker becomes this user and its primary group once it has "
          "opened its ports and files. Instead of noctule or mosquitto, where there is no such "
          "user, it becomes nobody; another name must exist. Not started by root, this has no "
          "effect." },
{ .key = "pid_file", .type = OPT_PATH, GLOBAL(pid_file),
  .example = "/run/noctule/noctule.pid", .otherwise = "none",
  .help = "File to write the process identifier to. If that fails, the broker does not start." },
{ .key = "include_dir", .type = OPT_INCLUDE_DIR,
  .example = "/etc/noctule/conf.d", .otherwise = "none",
  .help = "Reads every file of this directory whose name ends in .conf, in alphabetical order, "
          "as if it stood here. Each file begins outside of any listener. Only the main file "
          "may include." },

{ .status = OPTION_TITLE, .title = "Who may connect",
  .help = "These apply to all listeners, or, after \"per_listener_settings true\", to the "
          "listener above them." },

{ .key = "per_listener_settings", .type = OPT_BOOL, GLOBAL(per_listener_settings),
  .preset = "false",
  .help = "Whether allow_anonymous, password_file, acl_file, auth_jwt_..., "
          "allow_zero_length_clientid and auto_id_prefix belong to the listener above them instead "
          "of to all listeners. It must stand before them." },
{ .key = "allow_anonymous", .type = OPT_BOOL, SECURITY(allow_anonymous),
  .preset = "false", .live = true,
  .help = "Whether clients may connect without saying who they are. A configured listener lets "
          "nobody in until this is true; without any listener in the file the broker can only "
          "be reached from this machine, and then the default is true." },
{ .key = "clientid_prefixes", .type = OPT_TEXT, GLOBAL(clientid_prefixes),
  .max = 255, .example = "device-", .otherwise = "any", .live = true,
  .help = "What every client identifier must begin with; clients with another one are refused, on "
          "every listener." },
{ .key = "auth_threads", .type = OPT_COUNT, GLOBAL(auth_threads),
  .words = auto_word, .max = 64, .preset = "auto",
  .help = "Threads of low priority that check passwords. With auto there is one for every four "
          "CPUs that the process may use. There are none before the first password comes. A "
          "password that was right is remembered, so the next login costs little." },
{ .key = "auth_queue", .type = OPT_COUNT, GLOBAL(auth_queue),
  .min = 1, .max = 1000000, .preset = "1000", .live = true,
  .help = "Clients that may wait for their password to be checked. Whoever comes when so many "
          "wait is told that the server is busy (reason code 0x89; MQTT 3: 3)." },
{ .key = "password_file", .type = OPT_FILE, SECURITY(password_file),
  .example = "/etc/noctule/passwd", .otherwise = "none", .live = true,
  .help = "File with the users and their hashed passwords, as \"noctule passwd\" and "
          "mosquitto_passwd write it. Whoever gives a user name must be in it and give its "
          "password; allow_anonymous says whether one may leave it out. SIGHUP reads it again, and "
          "ends the connections of those whose entry is gone or is another one." },
{ .key = "auth_jwt_keyfile", .type = OPT_FILE, SECURITY(auth_jwt_keyfile),
  .example = "/etc/noctule/jwt.pem", .otherwise = "none", .live = true,
  .help = "Clients may give a signed token (JSON Web Token) as their password, which is verified "
          "with the keys in this file: public keys or certificates in PEM (RSA: RS256; EC of the "
          "curve P-256: ES256; Ed25519: EdDSA), or a secret of at least 32 bytes (HS256). A token "
          "must have a date of expiry (exp), at which the client is disconnected (0xA0); nbf is "
          "obeyed. SIGHUP reads the file again; whoever is connected with a key that is no longer "
          "there is disconnected." },
{ .key = "auth_jwt_issuer", .type = OPT_TEXT, SECURITY(auth_jwt_issuer),
  .max = 1000, .example = "https://login.example.org", .otherwise = "any", .live = true,
  .help = "What a token's issuer (iss) must be." },
{ .key = "auth_jwt_audience", .type = OPT_TEXT, SECURITY(auth_jwt_audience),
  .max = 1000, .example = "mqtt.example.org", .otherwise = "any", .live = true,
  .help = "What a token's audience (aud) must be, or have among others." },
{ .key = "auth_jwt_username_claim", .type = OPT_TEXT, SECURITY(auth_jwt_username_claim),
  .max = 100, .preset = "sub", .live = true,
  .help = "The claim of a token that is the client's user name, whatever CONNECT says." },
{ .key = "auth_jwt_acl_claim", .type = OPT_TEXT, SECURITY(auth_jwt_acl_claim),
  .max = 100, .preset = "acl", .live = true,
  .help = "The claim of a token that says which topics the client may use, an object with lists of "
          "topic filters: {\"pub\": [...], \"sub\": [...], \"all\": [...]}. %u and %c stand for user name and "
          "client identifier. A token that has it allows nothing else, and acl_file does not hold "
          "for its client." },
{ .key = "auth_jwt_leeway", .type = OPT_SECONDS, SECURITY(auth_jwt_leeway),
  .max = 3600, .preset = "0", .live = true,
  .help = "By how much the clocks of issuer and broker may differ." },
{ .key = "allow_zero_length_clientid", .type = OPT_BOOL, SECURITY(allow_zero_length_clientid),
  .preset = "true", .live = true,
  .help = "Whether clients of MQTT 3.1.1 and 5.0 may leave their client identifier empty and "
          "be given one." },
{ .key = "auto_id_prefix", .type = OPT_TEXT, SECURITY(auto_id_prefix),
  .max = 50, .preset = "auto-", .live = true,
  .help = "What client identifiers that the broker makes up begin with." },

{ .status = OPTION_TITLE, .title = "Who may use which topics",
  .help = "Without acl_file everybody who may connect may publish and subscribe to everything." },

{ .key = "acl_file", .type = OPT_FILE, SECURITY(acl_file), .loaded = true,
  .example = "/etc/noctule/acl", .otherwise = "everything is allowed", .live = true,
  .help = "Rules for topics, in the syntax of mosquitto: \"topic [read|write|readwrite|deny] "
          "filter\" for clients without a user name, after \"user name\" for that user, and "
          "\"pattern\" for everybody, with %u for the user name and %c for the client identifier. "
          "What no rule allows is denied. Publishing needs write, also for a will; receiving needs "
          "read. SIGHUP reads the file again, also for clients that are connected." },
{ .key = "acl_subscribe_check", .type = OPT_BOOL, GLOBAL(acl_subscribe_check),
  .preset = "false", .live = true,
  .help = "Whether a subscription is refused with reason code 0x87 when the rules allow nothing of "
          "it. With false it succeeds, as in mosquitto, and nothing comes." },
{ .key = "plugin", .type = OPT_PLUGIN, .scope = SCOPE_SECURITY,
  .otherwise = "none", .deprecated = true,
  .help = "mosquitto_acl_file.so and mosquitto_password_file.so stand for acl_file and "
          "password_file, whose paths then stand in plugin_opt_acl_file and "
          "plugin_opt_password_file. There are no other plugins." },
{ .key = "global_plugin", .type = OPT_PLUGIN, .scope = SCOPE_SECURITY,
  .otherwise = "none", .deprecated = true, .help = "The same as plugin." },
{ .key = "auth_plugin", .type = OPT_PLUGIN, .scope = SCOPE_SECURITY,
  .otherwise = "none", .deprecated = true, .help = "The older name of plugin." },
{ .key = "plugin_opt_acl_file", .type = OPT_FILE, SECURITY(acl_file), .loaded = true,
  .same_as = "acl_file", .otherwise = "as acl_file", .live = true, .deprecated = true,
  .help = "acl_file, behind the line of the plugin that it stands for." },
{ .key = "auth_opt_acl_file", .type = OPT_FILE, SECURITY(acl_file), .loaded = true,
  .same_as = "acl_file", .otherwise = "as acl_file", .live = true, .deprecated = true,
  .help = "The older name of plugin_opt_acl_file." },

{ .key = "plugin_opt_password_file", .type = OPT_FILE, SECURITY(password_file),
  .same_as = "password_file", .otherwise = "as password_file", .live = true, .deprecated = true,
  .help = "password_file, behind the line of the plugin that it stands for." },
{ .key = "auth_opt_password_file", .type = OPT_FILE, SECURITY(password_file),
  .same_as = "password_file", .otherwise = "as password_file", .live = true, .deprecated = true,
  .help = "The older name of plugin_opt_password_file." },

{ .status = OPTION_TITLE, .title = "Strangers",
  .help = "What connections may cost before they are let in. An address is an IPv4 address, or the "
          "first 64 bits of an IPv6 one. Every refusal is a line in the log that begins with "
          "\"Refused\" and the address; conf/fail2ban has a filter for it." },

{ .key = "accept_rate", .type = OPT_COUNT, GLOBAL(accept_rate),
  .max = 1000000, .preset = "0", .no_limit = true, .live = true,
  .help = "New connections a second from one address; more are closed at once. As many may come "
          "in a burst. 0 is no limit." },
{ .key = "max_connections_per_ip", .type = OPT_COUNT, GLOBAL(max_connections_per_ip),
  .max = 10000000, .preset = "0", .no_limit = true, .live = true,
  .help = "Connections of one address at a time; more are closed at once. 0 is no limit." },
{ .key = "max_unauthenticated", .type = OPT_COUNT, GLOBAL(max_unauthenticated),
  .max = 10000000, .preset = "0", .no_limit = true, .live = true,
  .help = "Connections at a time that are not let in yet: in their TLS handshake, without CONNECT, "
          "or waiting for their password to be checked. More are closed at once. 0 is no limit." },
{ .key = "connect_timeout", .type = OPT_SECONDS, GLOBAL(connect_timeout),
  .min = 1, .max = 3600, .preset = "10s", .live = true,
  .help = "How long a connection may take until its CONNECT is complete and answered. A TLS "
          "handshake has 10 seconds of its own." },
{ .key = "ban_time", .type = OPT_SECONDS, GLOBAL(ban_time),
  .max = 31536000, .preset = "0", .live = true,
  .help = "An address whose connections were refused ban_failures times within so long is not let "
          "in for as long: for wrong passwords, missing rights to connect, whatever is not MQTT, "
          "failed TLS handshakes. Those it has stay. 0 bans nobody." },
{ .key = "trusted_proxies", .type = OPT_TEXT, GLOBAL(trusted_proxies),
  .max = 2000, .example = "127.0.0.1 10.0.0.0/8 fd00::/8", .otherwise = "none", .live = true,
  .help = "Addresses and networks of the proxies in front of this broker, at most 32, whose word "
          "about where a client comes from is taken: with enable_proxy_protocol, and in the header "
          "X-Forwarded-For with which a WebSocket connection begins." },
{ .key = "ban_failures", .type = OPT_COUNT, GLOBAL(ban_failures),
  .min = 1, .max = 1000000, .preset = "10", .live = true,
  .help = "For ban_time: how often an address may be refused before it is banned." },

{ .status = OPTION_TITLE, .title = "Packets",
  .help = "What a client may send, and what it is told about it." },

{ .key = "max_packet_size", .type = OPT_BYTES, GLOBAL(max_packet_size),
  .min = 20, .max = 268435460, .preset = "2MB", .live = true,
  .help = "Largest packet that a client may send. Clients of MQTT 5.0 are told; whoever sends "
          "a larger one is disconnected." },
{ .key = "message_size_limit", .type = OPT_BYTES, GLOBAL(message_size_limit),
  .max = 268435455, .preset = "0", .no_limit = true, .live = true,
  .help = "Largest payload of a message; a larger message is acknowledged with an error and "
          "goes to nobody. 0 is no limit. Prefer max_packet_size, which keeps such messages "
          "from being sent at all." },
{ .key = "max_keepalive", .type = OPT_SECONDS, GLOBAL(max_keepalive),
  .max = 65535, .preset = "0", .live = true,
  .help = "Longest keep-alive for clients of MQTT 5.0; those that ask for more, or for none, "
          "are given this one. With 0 every client has the keep-alive that it asks for, also "
          "none." },
{ .key = "retain_available", .type = OPT_BOOL, GLOBAL(retain_available),
  .preset = "true", .live = true,
  .help = "Whether clients may publish retained messages; with false, whoever tries is "
          "disconnected." },
{ .key = "check_payload_format", .type = OPT_BOOL, GLOBAL(check_payload_format),
  .preset = "false", .live = true,
  .help = "Whether a payload that is announced as UTF-8 is checked, and refused with reason "
          "code 0x99 if it is not." },

{ .status = OPTION_TITLE, .title = "Quotas",
  .help = "What one client may have, and how fast it may send." },

{ .key = "message_rate", .type = OPT_COUNT, GLOBAL(message_rate),
  .max = 100000000, .preset = "0", .no_limit = true, .live = true,
  .help = "Messages a second that a client may publish; as many may come at once. Who is faster "
          "loses nothing, and is not read until he is on time again. 0 is no limit." },
{ .key = "byte_rate", .type = OPT_BYTES, GLOBAL(byte_rate),
  .max = TEBI, .preset = "0", .no_limit = true, .live = true,
  .help = "The same in bytes of all packets that a client sends. 0 is no limit." },
{ .key = "max_subscriptions", .type = OPT_COUNT, GLOBAL(max_subscriptions),
  .max = 4294967295, .preset = "0", .no_limit = true, .live = true,
  .help = "Subscriptions of one client; more are refused with reason code 0x97 (MQTT 3.1.1: 0x80). "
          "0 is no limit." },
{ .key = "max_topic_levels", .type = OPT_COUNT, GLOBAL(max_topic_levels),
  .min = 1, .max = 200, .preset = "200", .live = true,
  .help = "Levels of a topic; a message to one with more is acknowledged with reason code 0x90 and "
          "goes to nobody, a subscription is refused with 0x8F. More than 200 end the connection." },
{ .key = "max_retained_messages", .type = OPT_COUNT, GLOBAL(max_retained_messages),
  .max = 4294967295, .preset = "0", .no_limit = true, .live = true,
  .help = "Retained messages of all clients; one more, on a topic that has none, is acknowledged "
          "with reason code 0x97 and goes to nobody; a will is sent and not kept. 0 is no limit." },

{ .status = OPTION_TITLE, .title = "Sessions and queues",
  .help = "What is kept for a client that is slow or away. Whatever exceeds a limit is dropped "
          "and counted." },

{ .key = "max_inflight_messages", .type = OPT_COUNT, GLOBAL(max_inflight_messages),
  .max = 65535, .preset = "1000", .no_limit = true, .live = true,
  .help = "Messages of QoS 1 and 2 on their way to a client at once, waiting for its "
          "acknowledgement. A client of MQTT 5.0 may ask for fewer. 0 is no limit of the "
          "broker's own." },
{ .key = "max_inflight_bytes", .type = OPT_BYTES, GLOBAL(max_inflight_bytes),
  .max = TEBI, .preset = "0", .no_limit = true, .live = true,
  .help = "The same in bytes; one message may always be on its way, however large. 0 is no "
          "limit." },
{ .key = "max_queued_messages", .type = OPT_COUNT, GLOBAL(max_queued_messages),
  .max = 4294967295, .preset = "1000", .no_limit = true, .live = true,
  .help = "Messages that wait for a client behind those on their way. Beyond it the newest is "
          "dropped. 0 is no limit, so that a client that stays away may fill the memory." },
{ .key = "max_queued_bytes", .type = OPT_BYTES, GLOBAL(max_queued_bytes),
  .max = TEBI, .preset = "0", .no_limit = true, .live = true,
  .help = "The same in bytes. With both, the limit that is reached first holds. 0 is no limit." },
{ .key = "memory_limit", .type = OPT_BYTES, GLOBAL(memory_limit),
  .max = TEBI, .preset = "0", .no_limit = true, .live = true,
  .help = "Memory that the broker uses at most, the pages of the store not counted. From three "
          "quarters of it on, queues stay short; then new clients (those without a session here), "
          "subscriptions, retained messages and large packets are refused, at last publications; "
          "each is counted and logged. 0 is no limit." },
{ .key = "queue_qos0_messages", .type = OPT_BOOL, GLOBAL(queue_qos0_messages),
  .preset = "false", .live = true,
  .help = "Whether messages of QoS 0 are kept as well for a client with a persistent session "
          "that is away." },
{ .key = "persistent_client_expiration", .type = OPT_DURATION, GLOBAL(persistent_client_expiration),
  .max = 4294967294, .preset = "0", .example = "14d", .live = true,
  .help = "Ends the sessions of clients that have been away for so long, whatever they asked "
          "for: a number with h, d, w, m or y, for hours, days, weeks, months of 30 days, "
          "years. 0 is never." },
{ .key = "upgrade_outgoing_qos", .type = OPT_BOOL, GLOBAL(upgrade_outgoing_qos),
  .preset = "false", .live = true,
  .help = "Whether a message is delivered with the QoS of the subscription even when it was "
          "published with a lower one. The specification does not foresee that." },
{ .key = "check_retain_source", .type = OPT_BOOL, GLOBAL(check_retain_source),
  .preset = "true", .live = true,
  .help = "Whether a retained message is only delivered while the client that published it may "
          "still publish to its topic (acl_file). Who that was is stored with it." },

{ .status = OPTION_TITLE, .title = "What survives",
  .help = "Sessions that outlive their connection with their subscriptions and messages, retained "
          "messages, wills and shared groups are on disk before anything of them is "
          "acknowledged." },

{ .key = "persistence", .type = OPT_BOOL, GLOBAL(persistence),
  .preset = "true",
  .help = "Whether anything is stored. Without it a restart forgets everything." },
{ .key = "persistence_location", .type = OPT_TEXT, GLOBAL(persistence_location),
  .max = 3000, .example = "/var/lib/noctule", .otherwise = "see below",
  .help = "Folder of the store, made when it is missing; one broker uses it at a time. The default "
          "is what systemd names in STATE_DIRECTORY, else /var/lib/noctule if the broker may write "
          "there, else noctule in XDG_STATE_HOME, else ~/.local/state/noctule. If it cannot be "
          "written the broker does not start." },
{ .key = "durability", .type = OPT_DURABILITY, GLOBAL(durability_interval),
  .min = 1, .max = 60000, .preset = "sync",
  .help = "With sync nothing is acknowledged before it is on disk. With \"interval 500\" it is "
          "acknowledged at once and written at least every 500 milliseconds; a crash or a power "
          "cut then loses what was acknowledged since. While the disk fails, acknowledgements wait as "
          "with sync." },
{ .key = "store_commit_delay", .type = OPT_COUNT, GLOBAL(store_commit_delay),
  .max = 10000, .preset = "0",
  .help = "Milliseconds that the store collects before each commit. It writes less then, and "
          "everything that is acknowledged waits longer: for flash cards." },
{ .key = "store_full_timeout", .type = OPT_SECONDS, GLOBAL(store_full_timeout),
  .max = 86400, .preset = "30",
  .help = "How long acknowledgements are held back when the disk is full or fails. After that "
          "clients of MQTT 5.0 are told so (0x97); reading and delivering go on, and so does "
          "storing by itself when there is room." },
{ .key = "store_min_free", .type = OPT_BYTES, GLOBAL(store_min_free),
  .max = TEBI, .preset = "16MB",
  .help = "Room on the disk that the store leaves to others: with less it behaves as if the disk "
          "were full." },

{ .status = OPTION_TITLE, .title = "Pressure",
  .help = "What happens when clients or the broker cannot keep up." },

{ .key = "backpressure_timeout", .type = OPT_SECONDS, GLOBAL(backpressure_timeout),
  .min = 1, .max = 3600, .preset = "10s", .live = true,
  .help = "How long a message may wait for its acknowledgement because the broker is behind. "
          "After that it is refused with reason code 0x97 (MQTT 5.0), or the connection is "
          "closed." },
{ .key = "write_timeout", .type = OPT_SECONDS, GLOBAL(write_timeout),
  .min = 1, .max = 3600, .preset = "60s", .live = true,
  .help = "A connection that takes nothing off the wire for so long, although something waits "
          "for it, is closed." },
{ .key = "set_tcp_nodelay", .type = OPT_BOOL, GLOBAL(set_tcp_nodelay),
  .preset = "true", .live = true,
  .help = "Whether small packets are sent at once (TCP_NODELAY) instead of waiting for more. "
          "The broker gathers its output by itself, so false saves nothing and costs latency. "
          "Holds for new connections." },
{ .key = "websockets_headers_size", .type = OPT_BYTES, GLOBAL(websockets_headers_size),
  .max = 65535, .preset = "0",
  .help = "Room for the HTTP headers with which a WebSocket connection begins; large cookies "
          "need more. 0 is what the library has by default." },

{ .status = OPTION_TITLE, .title = "What the broker says",
  .help = "Its log, and its state under $SYS/broker/." },

{ .key = "log_dest", .type = OPT_LOG_DEST, GLOBAL(log_dest),
  .words = log_dests, .preset = "stderr", .live = true,
  .help = "Where the log goes: stderr, stdout, syslog, topic ($SYS/broker/log/...), \"file\" "
          "with a path, or none. May be given several times. SIGHUP opens the file anew." },
{ .key = "log_type", .type = OPT_SET, GLOBAL(log_type),
  .words = log_types, .preset = "error warning notice information", .live = true,
  .help = "What is logged: error, warning, notice, information, debug (every packet), "
          "subscribe, unsubscribe, websockets, internal, all, none. One word per line; the "
          "lines add up." },
{ .key = "log_timestamp", .type = OPT_BOOL, GLOBAL(log_timestamp),
  .preset = "true", .live = true,
  .help = "Whether each line begins with the time." },
{ .key = "log_timestamp_format", .type = OPT_TEXT, GLOBAL(log_timestamp_format),
  .max = 100, .example = "%Y-%m-%dT%H:%M:%S", .otherwise = "seconds since 1970", .live = true,
  .help = "How the time is written, in the letters of strftime(3)." },
{ .key = "log_facility", .type = OPT_CHOICE, GLOBAL(log_facility),
  .words = facilities, .preset = "daemon", .live = true,
  .help = "For log_dest syslog: the facility, daemon or 0 to 7 for local0 to local7." },
{ .key = "connection_messages", .type = OPT_BOOL, GLOBAL(connection_messages),
  .preset = "true", .live = true,
  .help = "Whether the log says who connects and disconnects." },
{ .key = "sys_interval", .type = OPT_SECONDS, GLOBAL(sys_interval),
  .max = 65535, .preset = "10", .live = true,
  .help = "Time between two updates of $SYS/broker/. With 0 there are none." },

{ .status = OPTION_TITLE, .title = "Listeners",
  .help = "Each listener begins with its own line; the options of this group and the next one "
          "belong to the listener above them, and those before the first listener hold for "
          "every listener that does not set them. Without any listener the broker listens on "
          "127.0.0.1 and ::1, port 1883 (MQTT) and 9001 (MQTT over WebSocket)." },

{ .key = "listener", .type = OPT_LISTENER, .scope = SCOPE_LISTENER,
  .max = 65535, .example = "1883", .otherwise = "built-in listeners",
  .help = "Begins a listener: a port, and after it the host name or address to listen on (all "
          "addresses without one); or 0 and the path of a Unix socket." },
{ .key = "protocol", .type = OPT_CHOICE, LISTENER(protocol),
  .words = protocols, .preset = "mqtt",
  .help = "mqtt, or websockets for MQTT over WebSocket." },
{ .key = "socket_domain", .type = OPT_CHOICE, LISTENER(socket_domain),
  .words = domains, .example = "ipv4", .otherwise = "IPv4 and IPv6",
  .help = "ipv4 or ipv6, to listen with that one alone." },
{ .key = "max_connections", .type = OPT_COUNT, LISTENER(max_connections),
  .max = 10000000, .preset = "-1", .no_limit = true,
  .help = "Most connections of this listener at a time; -1 or 0 is no limit." },
{ .key = "accept_protocol_versions", .type = OPT_LIST, LISTENER(accept_protocol_versions),
  .words = versions, .preset = "3,4,5", .live = true,
  .help = "Versions of MQTT that are spoken here: 3 is MQTT 3.1, 4 is MQTT 3.1.1, 5 is MQTT "
          "5.0. Several are separated by commas." },
{ .key = "max_qos", .type = OPT_COUNT, LISTENER(max_qos),
  .max = 2, .preset = "2",
  .help = "Highest QoS with which clients may publish here. Clients of MQTT 5.0 are told; "
          "whoever exceeds it is disconnected." },
{ .key = "maximum_qos", .type = OPT_COUNT, LISTENER(max_qos),
  .same_as = "max_qos", .max = 2, .preset = "2", .deprecated = true,
  .help = "The older name of max_qos." },
{ .key = "websockets_origin", .type = OPT_TEXT, LISTENER(websockets_origin),
  .lines = true, .max = 2000, .example = "https://www.example.org", .otherwise = "any", .live = true,
  .help = "Web pages that may connect over WebSocket, by their origin: scheme, host, and the port "
          "unless it is the usual one. Several in a line, or in several lines. A browser says where "
          "a page is from; other clients need not." },
{ .key = "enable_proxy_protocol", .type = OPT_CHOICE, LISTENER(enable_proxy_protocol),
  .words = proxy_protocols, .preset = "false",
  .help = "Whether connections come through a proxy that says whom it speaks for: true, or 1 or 2 "
          "for that version of the PROXY protocol alone. Then all must come from trusted_proxies "
          "and begin with its header, in front of TLS." },
{ .key = "max_topic_alias", .type = OPT_COUNT, LISTENER(max_topic_alias),
  .max = 65535, .preset = "10",
  .help = "Topic aliases that a client of MQTT 5.0 may set; 0 forbids them." },
{ .key = "max_topic_alias_broker", .type = OPT_COUNT, LISTENER(max_topic_alias_broker),
  .max = 65535, .preset = "10",
  .help = "Topic aliases that the broker sets towards a client of MQTT 5.0, if the client "
          "allows as many." },
{ .key = "listener_allow_anonymous", .type = OPT_BOOL, LISTENER(allow_anonymous),
  .same_as = "allow_anonymous", .example = "true", .otherwise = "as allow_anonymous", .live = true,
  .help = "allow_anonymous for the listener above it alone, whatever per_listener_settings says." },
{ .key = "listener_auto_id_prefix", .type = OPT_TEXT, LISTENER(auto_id_prefix),
  .same_as = "auto_id_prefix", .max = 50, .example = "auto-", .otherwise = "as auto_id_prefix",
  .live = true,
  .help = "auto_id_prefix for the listener above it alone, whatever per_listener_settings says." },
{ .key = "use_username_as_clientid", .type = OPT_BOOL, LISTENER(use_username_as_clientid),
  .preset = "false", .live = true,
  .help = "Whether the user name of a client is its client identifier, whatever it calls itself, "
          "so that nobody can take over the session of somebody else. Clients without a user name "
          "are refused then." },
{ .key = "port", .type = OPT_PORT, .scope = SCOPE_LISTENER,
  .min = 1, .max = 65535, .otherwise = "none", .deprecated = true,
  .help = "Port of the default listener, to which the listener options before the first "
          "listener then belong. Write \"listener\" instead." },
{ .key = "bind_address", .type = OPT_BIND_ADDRESS, .scope = SCOPE_LISTENER,
  .max = 255, .otherwise = "all addresses", .deprecated = true,
  .help = "Address of the default listener. Write \"listener\" instead." },

{ .status = OPTION_TITLE, .title = "TLS",
  .help = "A listener with a certificate and its key speaks TLS; WebSocket listeners as well." },

{ .key = "certfile", .type = OPT_FILE, LISTENER(certfile),
  .example = "/etc/noctule/certs/server.crt", .otherwise = "no TLS",
  .help = "Certificate of the server in PEM, followed by the certificates between it and the "
          "root." },
{ .key = "keyfile", .type = OPT_FILE, LISTENER(keyfile),
  .example = "/etc/noctule/certs/server.key", .otherwise = "no TLS",
  .help = "Its private key in PEM." },
{ .key = "cafile", .type = OPT_FILE, LISTENER(cafile),
  .example = "/etc/noctule/certs/ca.crt", .otherwise = "none",
  .help = "Certificates, in PEM, of the authorities whose client certificates are accepted." },
{ .key = "capath", .type = OPT_DIRECTORY, LISTENER(capath),
  .example = "/etc/noctule/certs/ca", .otherwise = "none",
  .help = "The same as a directory, prepared with \"openssl rehash\"." },
{ .key = "require_certificate", .type = OPT_BOOL, LISTENER(require_certificate),
  .preset = "false",
  .help = "Whether a client must show a certificate that one of these authorities has signed." },
{ .key = "crlfile", .type = OPT_FILE, LISTENER(crlfile),
  .example = "/etc/noctule/certs/ca.crl", .otherwise = "none",
  .help = "List of revoked client certificates, in PEM, one for each authority. Once it is past its "
          "next update, no certificate is accepted. Whoever is connected with a certificate that a "
          "new list revokes is disconnected (0x98)." },
{ .key = "use_identity_as_username", .type = OPT_BOOL, LISTENER(use_identity_as_username),
  .preset = "false",
  .help = "Whether the common name (CN) of a client's certificate is its user name; it is asked for "
          "no other, and for no password. Needs require_certificate." },
{ .key = "use_subject_as_username", .type = OPT_BOOL, LISTENER(use_subject_as_username),
  .preset = "false",
  .help = "The same with the whole subject of the certificate, as RFC 2253 writes it: "
          "CN=device-1,O=Example. Needs require_certificate." },
{ .key = "tls_version", .type = OPT_CHOICE, LISTENER(tls_version),
  .words = tls_versions, .preset = "tlsv1.2",
  .help = "Smallest version of TLS that is spoken: tlsv1.2 or tlsv1.3." },
{ .key = "handshake_rate", .type = OPT_COUNT, LISTENER(handshake_rate),
  .max = 1000000, .preset = "0", .no_limit = true, .live = true,
  .help = "TLS handshakes that may begin in a second; a tenth of that at once. Each costs as much as "
          "thousands of messages, so that a flood of them would slow down everybody: those beyond "
          "wait until it is their turn, and cost nothing meanwhile. Whoever is refused by accept_rate "
          "or max_connections_per_ip does not count. 0 is no limit." },
{ .key = "ciphers", .type = OPT_TEXT, LISTENER(ciphers),
  .max = 4000, .example = "ECDHE+AESGCM:ECDHE+CHACHA20", .otherwise = "those of OpenSSL",
  .help = "Cipher suites for TLS 1.2, as \"openssl ciphers\" writes them." },
{ .key = "ciphers_tls1.3", .type = OPT_TEXT, LISTENER(ciphers_tls13),
  .max = 4000, .example = "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256",
  .otherwise = "those of OpenSSL",
  .help = "Cipher suites for TLS 1.3." },

/* ---- mosquitto's, harmless to leave out ---- */

IGNORED("allow_duplicate_messages", NULL, "a client gets one copy, whatever its subscriptions"),
IGNORED("autosave_interval", NULL,
        "it is unnecessary: what is acknowledged is stored already; see durability"),
IGNORED("autosave_on_changes", NULL,
        "it is unnecessary: what is acknowledged is stored already; see durability"),
IGNORED("dhparamfile", NULL, "OpenSSL chooses the parameters"),
IGNORED("disable_client_cert_date_checks", "false", "the dates of client certificates are checked"),
IGNORED("enable_control_api", "false", "there is no $CONTROL"),
IGNORED("global_max_clients", "-1", "sessions are not limited in number"),
IGNORED("global_max_connections", "-1", "set max_connections for each listener"),
IGNORED("http_dir", NULL, "no files are served over HTTP"),
IGNORED("packet_buffer_size", NULL, "read buffers have one size; see websockets_headers_size"),
IGNORED("persistence_file", NULL, "the store is a folder; see persistence_location"),
IGNORED("retained_persistence", "true", "retained messages are stored like everything else"),
IGNORED("retain_expiry_interval", "0", "expired retained messages go by themselves"),
IGNORED("retry_interval", NULL, "messages are sent again when a client reconnects, not before"),
IGNORED("store_clean_interval", NULL, "messages go as soon as nobody needs them"),
IGNORED("websockets_log_level", NULL, "log_type websockets is all there is"),

/* ---- mosquitto's, and somebody relies on them ---- */

REFUSED("auth_opt_*", NULL, "it belongs to a plugin that says who may connect"),
REFUSED("auth_plugin_deny_special_chars", NULL, "it belongs to a plugin that says who may connect"),
REFUSED("bind_interface", NULL,
        "it says which network may reach the listener; give listener an address instead"),
REFUSED("http_api", NULL, "there is no HTTP interface"),
REFUSED("mount_point", NULL, "it keeps the clients of a listener apart from the others"),
REFUSED("plugin_load", NULL, "a plugin may say who may connect"),
REFUSED("plugin_opt_*", NULL, "it belongs to a plugin that may say who may connect"),
REFUSED("plugin_use", NULL, "a plugin may say who may connect"),
REFUSED("proxy_protocol_v2_require_tls", "false", "it says who may connect"),
REFUSED("psk_file", NULL, "it says who may connect"),
REFUSED("psk_hint", NULL, "pre-shared keys say who may connect"),
REFUSED("tls_engine", NULL, "the key of the listener could not be used"),
REFUSED("tls_engine_kpass_sha1", NULL, "the key of the listener could not be used"),
REFUSED("tls_keyform", "pem", "the key of the listener could not be used"),

/* ---- mosquitto's bridges ---- */

REFUSED("connection", NULL, "no connection to the other broker would be made"),
BRIDGE("address"), BRIDGE("addresses"), BRIDGE("bridge_alpn"), BRIDGE("bridge_attempt_unsubscribe"),
BRIDGE("bridge_bind_address"), BRIDGE("bridge_cafile"), BRIDGE("bridge_capath"),
BRIDGE("bridge_certfile"),
BRIDGE("bridge_ciphers"), BRIDGE("bridge_ciphers_tls1.3"), BRIDGE("bridge_identity"),
BRIDGE("bridge_insecure"),
BRIDGE("bridge_keyfile"), BRIDGE("bridge_max_packet_size"), BRIDGE("bridge_max_topic_alias"),
BRIDGE("bridge_outgoing_retain"), BRIDGE("bridge_protocol_version"), BRIDGE("bridge_psk"),
BRIDGE("bridge_receive_maximum"), BRIDGE("bridge_reload_type"), BRIDGE("bridge_require_ocsp"),
BRIDGE("bridge_session_expiry_interval"), BRIDGE("bridge_tcp_keepalive"),
BRIDGE("bridge_tcp_user_timeout"),
BRIDGE("bridge_tls_use_os_certs"), BRIDGE("bridge_tls_version"), BRIDGE("cleansession"),
BRIDGE("clientid"),
BRIDGE("idle_timeout"), BRIDGE("keepalive_interval"), BRIDGE("local_cleansession"),
BRIDGE("local_clientid"),
BRIDGE("local_password"), BRIDGE("local_username"), BRIDGE("notification_topic"),
BRIDGE("notifications"),
BRIDGE("notifications_local_only"), BRIDGE("password"), BRIDGE("remote_clientid"),
BRIDGE("remote_password"),
BRIDGE("remote_username"), BRIDGE("restart_timeout"), BRIDGE("round_robin"),
BRIDGE("session_expiry"),
BRIDGE("start_type"), BRIDGE("threshold"), BRIDGE("topic"), BRIDGE("try_private"),
BRIDGE("username"),
};
/* clang-format on */

const size_t option_count = sizeof option_table / sizeof *option_table;

size_t option_index(const struct option *option)
{
    return (size_t)(option - option_table);
}

static bool key_matches(const char *pattern, const char *key)
{
    size_t len = strlen(pattern);

    if (pattern[len - 1] == '*')
        return strncmp(pattern, key, len - 1) == 0;
    return strcmp(pattern, key) == 0;
}

const struct option *option_find(const char *key)
{
    for (size_t i = 0; i < option_count; i++)
        if (option_table[i].key && key_matches(option_table[i].key, key))
            return &option_table[i];
    return NULL;
}

static size_t smallest(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;

    return least < c ? least : c;
}

/* How many letters must be put in, left out, changed or swapped with their neighbour to get from
 * one word to the other, whatever the case. Both are shorter than OPTION_KEY_MAX. */
static size_t distance(const char *from, const char *to)
{
    size_t rows[3][OPTION_KEY_MAX + 1]; /* the last two rows and this one, by turns */
    size_t from_len = strlen(from);
    size_t to_len = strlen(to);

    for (size_t j = 0; j <= to_len; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= from_len; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i - 1) % 3];
        const size_t *above_that = rows[(i + 1) % 3];

        row[0] = i;
        for (size_t j = 1; j <= to_len; j++) {
            size_t change = strncasecmp(&from[i - 1], &to[j - 1], 1) != 0;

            row[j] = smallest(above[j] + 1, row[j - 1] + 1, above[j - 1] + change);
            if (i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] &&
                above_that[j - 2] + 1 < row[j])
                row[j] = above_that[j - 2] + 1;
        }
    }
    return rows[from_len % 3][to_len];
}

/* Keeps the nearer one of two suggestions; a quarter of the letters may differ, or the end be
 * missing. */
static void suggest(const char *word, const char *candidate, const char **best,
                    size_t *best_distance)
{
    bool begins = strlen(word) >= 3 && strncasecmp(word, candidate, strlen(word)) == 0;
    size_t far = begins ? 1 : distance(word, candidate);

    if (far <= 1 + strlen(candidate) / 4 && far < strlen(candidate) && far < *best_distance) {
        *best = candidate;
        *best_distance = far;
    }
}

const char *option_suggest(const char *key)
{
    const char *best = NULL;
    size_t best_distance = SIZE_MAX;

    if (strlen(key) >= OPTION_KEY_MAX)
        return NULL;
    for (size_t i = 0; i < option_count; i++)
        if (option_table[i].key && option_table[i].status == OPTION_SUPPORTED)
            suggest(key, option_table[i].key, &best, &best_distance);
    return best;
}

const char *option_suggest_word(const struct option *option, const char *word)
{
    const char *best = NULL;
    size_t best_distance = SIZE_MAX;

    if (strlen(word) >= OPTION_KEY_MAX)
        return NULL;
    for (const struct option_word *w = option->words; w && w->word; w++)
        suggest(word, w->word, &best, &best_distance);
    return best;
}
