/* SPDX-License-Identifier: MIT */
/*
 * The configuration as the rest of the broker sees it: plain fields in bytes, seconds and counts,
 * checked and complete. It is read from text in mosquitto.conf syntax by config.c; every option is
 * one row of the table in options.c.
 *
 * A struct config is immutable once config_load() has returned it and is shared by reference count,
 * so any thread may read it without a lock. A reload makes a new one. Nothing here reads a clock or
 * opens a socket; only config_load() reads files.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/address.h"

struct acl;
struct jwt_rules;
struct password_file;
struct problems;

enum listener_protocol { LISTENER_MQTT, LISTENER_WEBSOCKETS };

/* Bits of accept_protocol_versions. */
enum protocol_versions {
    ACCEPT_MQTT_31 = 1u << 0,
    ACCEPT_MQTT_311 = 1u << 1,
    ACCEPT_MQTT_5 = 1u << 2,
    ACCEPT_MQTT_ALL = ACCEPT_MQTT_31 | ACCEPT_MQTT_311 | ACCEPT_MQTT_5,
};

/* Smallest TLS version of a listener. */
enum tls_version { TLS_1_2, TLS_1_3 };

/* Bits of log_dest. No bit: log_dest none. */
enum log_dest {
    LOG_TO_STDERR = 1u << 0,
    LOG_TO_STDOUT = 1u << 1,
    LOG_TO_SYSLOG = 1u << 2,
    LOG_TO_TOPIC = 1u << 3,
    LOG_TO_FILE = 1u << 4,
};

/* One socket to listen on, with all that applies to the clients that come through it. Strings may
 * be NULL: not set. */
struct listener_config {
    unsigned index;        /* its place among the listeners, also after a reload */
    char *address;         /* host name or IP address; NULL: all addresses, or a Unix socket */
    char *unix_path;       /* path of a Unix socket; then address is NULL and port 0 */
    uint16_t port;         /* 0 only for a Unix socket */
    uint8_t socket_domain; /* 4 or 6: only that IP version; 0: both */
    bool optional; /* built in, not asked for: failing to listen is a warning (::1 without IPv6) */
    enum listener_protocol protocol; /* MQTT or MQTT over WebSocket; TLS when certfile is set */

    bool allow_anonymous;
    bool allow_zero_length_clientid;
    char *auto_id_prefix; /* never NULL */
    char *password_file;
    struct password_file *passwords; /* one reference, what it says; NULL: nothing was read */
    char *acl_file;
    struct acl *acl; /* its rules, one reference; NULL: everything is allowed */
    char *auth_jwt_keyfile, *auth_jwt_issuer, *auth_jwt_audience;
    char *auth_jwt_username_claim, *auth_jwt_acl_claim;
    uint32_t auth_jwt_leeway;
    struct jwt_rules *jwt; /* one reference, what these say; NULL: nothing was read */
    bool use_username_as_clientid;

    uint32_t max_connections;          /* 0: no limit of its own */
    uint32_t handshake_rate;           /* TLS handshakes a second, 0: no limit */
    uint32_t accept_protocol_versions; /* OR of enum protocol_versions */
    uint8_t max_qos;                   /* 0..2 */
    uint16_t max_topic_alias;          /* aliases a client may set; 0: none */
    uint16_t max_topic_alias_broker;   /* aliases the broker sets towards a client; 0: none */

    char *websockets_origin;        /* separated by blanks; NULL: any */
    uint32_t enable_proxy_protocol; /* OR of enum proxy_versions; 0: clients connect themselves */

    char *certfile, *keyfile; /* both or neither */
    char *cafile, *capath, *crlfile;
    char *ciphers, *ciphers_tls13;
    enum tls_version tls_version;
    bool require_certificate;
    bool use_identity_as_username, use_subject_as_username; /* at most one of them */

    char *file;    /* where it was configured, for messages; NULL: built in or command line */
    unsigned line; /* of its `listener` line */
};

/* Sizes are bytes, times are seconds, 0 means "no limit" or "never" unless a comment says
 * otherwise. */
struct config {
    uint32_t workers; /* 0: one per CPU that the process may use */
    char *user;       /* to become when started by root; never NULL */
    char *pid_file;

    uint32_t max_inflight_messages;
    uint64_t max_inflight_bytes;
    uint32_t max_queued_messages;
    uint64_t max_queued_bytes;
    uint64_t memory_limit;
    bool queue_qos0_messages;
    uint32_t persistent_client_expiration; /* 0: sessions do not end by this option */

    bool persistence;
    char *persistence_location;   /* NULL: the first that fits of several */
    uint32_t durability_interval; /* milliseconds; 0: sync */
    uint32_t store_commit_delay;  /* milliseconds */
    uint32_t store_full_timeout;
    uint64_t store_min_free;

    uint16_t max_keepalive;      /* longest granted to a v5 client; 0: any, also none */
    uint32_t max_packet_size;    /* of a whole packet; always set, at most 268,435,460 */
    uint32_t message_size_limit; /* of a PUBLISH payload */
    bool retain_available;
    bool upgrade_outgoing_qos;
    bool check_retain_source;
    bool check_payload_format;
    bool acl_subscribe_check;
    uint32_t sys_interval; /* 0: no $SYS */

    uint32_t accept_rate;            /* connections a second from one address; 0: any */
    uint32_t max_connections_per_ip; /* 0: any */
    uint32_t max_unauthenticated;    /* connections that are not let in yet; 0: any */
    uint32_t connect_timeout;        /* seconds until CONNECT must be complete */
    uint32_t ban_time;               /* seconds; 0: nobody is banned */
    char *trusted_proxies;
    struct networks proxies; /* the same, read */
    uint32_t ban_failures;   /* within ban_time */

    uint32_t message_rate;          /* PUBLISH packets a second of a client; 0: any */
    uint64_t byte_rate;             /* the same in bytes */
    uint32_t max_subscriptions;     /* of a client; 0: any */
    uint8_t max_topic_levels;       /* 1 to 200 */
    uint64_t max_retained_messages; /* of all; 0: any */

    char *clientid_prefixes; /* what client identifiers must begin with; NULL: anything */
    uint32_t auth_threads;   /* 0: one for every four CPUs that the process may use */
    uint32_t auth_queue;     /* CONNECTs that may wait for them */

    uint32_t backpressure_timeout;
    uint32_t write_timeout;
    bool set_tcp_nodelay;
    uint32_t websockets_headers_size; /* 0: the library's default */

    bool connection_messages;
    uint32_t log_dest;    /* OR of enum log_dest */
    char *log_file;       /* with LOG_TO_FILE */
    uint32_t log_type;    /* OR of enum log_level (log.h) */
    uint8_t log_facility; /* 0..7: syslog local0..local7; 255: daemon */
    bool log_timestamp;
    char *log_timestamp_format; /* of strftime; NULL: seconds since the epoch */

    bool per_listener_settings;

    struct listener_config *listeners; /* never empty */
    size_t listener_count;
    bool local_only; /* none was configured: these are the built-in ones, reached from here only */

    char *path; /* the file it was read from; NULL: none */
};

#define CONFIG_LOG_FACILITY_DAEMON 255
#define CONFIG_PORTS_MAX           10

/* What only the layer above can find out about a configuration, so that this stands in the list of its
 * problems as well. Each says in `why` what is wrong, with the option's name, and returns false then. */
enum { CONFIG_WHY_MAX = 512 };
struct config_checks {
    bool (*user)(const char *user, char why[CONFIG_WHY_MAX]);
    bool (*tls)(const struct listener_config *listener, char why[CONFIG_WHY_MAX]);
};

/* What the command line says; it wins over the file, except that ports are ignored when the file
 * has listeners. */
struct config_overrides {
    const struct config_checks *checks; /* NULL: none */
    const uint16_t *ports;              /* loopback MQTT listeners instead of port 1883 */
    size_t port_count;                  /* at most CONFIG_PORTS_MAX */
    bool verbose;                       /* log_type all */
};

/* Reads the file (NULL: the defaults alone) and the files that it includes. Returns a configuration
 * with one reference, or NULL when `problems` holds at least one error; warnings may stand there in
 * both cases. All problems of all files are listed, not just the first. */
struct config *config_load(const char *path, struct problems *problems);
struct config *config_load_with(const char *path, const struct config_overrides *overrides,
                                struct problems *problems);

/* The same from memory, where `name` stands for the file in messages; include_dir is an error
 * there. `text` need not be NUL-terminated and may hold any bytes. */
struct config *config_parse(const char *text, size_t len, const char *name,
                            struct problems *problems);

struct config *config_ref(struct config *config); /* returns its argument */
void config_unref(struct config *config);         /* the last one frees; NULL is fine */

/* Called once per changed option or listener with a line such as "max_keepalive: 60 -> 120". */
typedef void config_change_fn(void *ctx, bool live, const char *line);

/* Compares what runs with what was just loaded, reports every difference, and puts back into
 * `fresh` (which nobody else may have seen yet) the running value of each option that needs a
 * restart. Afterwards `fresh` describes the broker as it will run: the same listeners in the same
 * order, with the new values of the live options. Returns whether anything live changed. */
bool config_reload_diff(const struct config *running, struct config *fresh,
                        config_change_fn *report, void *ctx);

/* "127.0.0.1:1883", "[::1]:9001", "*:1883", "/run/noctule.sock" into `buf`; returns `buf`. */
char *listener_name(const struct listener_config *listener, char *buf, size_t size);
