/* SPDX-License-Identifier: MIT */
/*
 * Text in, configuration or problems out. Exists so that what a configuration file means, and what
 * is said about one that is wrong, stays as mosquitto's users know it. Files are made in a fresh
 * directory under /tmp.
 */
#include "broker/proxy.h"
#include "tests/broker/config_fixture.h"

/* ---- defaults ---- */

static void test_config_without_a_file_listens_on_loopback_for_anybody(void **state)
{
    static const char *const names[] = { "127.0.0.1:1883", "[::1]:1883", "127.0.0.1:9001",
                                         "[::1]:9001" };
    struct fixture *f = *state;
    const struct config *c = load(f, NULL);
    char name[64];

    assert_non_null(c);
    assert_int_equal(f->problems.count, 0);
    assert_true(c->local_only);
    assert_int_equal(c->listener_count, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(listener_name(&c->listeners[i], name, sizeof name), names[i]);
        assert_true(c->listeners[i].allow_anonymous);
        assert_int_equal(c->listeners[i].protocol, i < 2 ? LISTENER_MQTT : LISTENER_WEBSOCKETS);
        assert_int_equal(c->listeners[i].optional, i % 2); /* a machine need not have IPv6 */
    }
}

static void test_config_without_a_file_has_the_documented_defaults(void **state)
{
    const struct config *c = load(*state, NULL);

    assert_int_equal(c->workers, 0);
    assert_int_equal(c->max_inflight_messages, 1000);
    assert_int_equal(c->max_queued_messages, 1000);
    assert_int_equal(c->max_inflight_bytes, 0);
    assert_int_equal(c->max_queued_bytes, 0);
    assert_int_equal(c->max_packet_size, 2000000);
    assert_int_equal(c->message_size_limit, 0);
    assert_int_equal(c->max_keepalive, 0);
    assert_int_equal(c->persistent_client_expiration, 0);
    assert_int_equal(c->sys_interval, 10);
    assert_int_equal(c->backpressure_timeout, 10);
    assert_int_equal(c->write_timeout, 60);
    assert_int_equal(c->log_dest, LOG_TO_STDERR);
    assert_int_equal(c->log_type, LOG_MASK_DEFAULT);
    assert_int_equal(c->log_facility, CONFIG_LOG_FACILITY_DAEMON);
    assert_true(c->retain_available && c->connection_messages && c->log_timestamp &&
                c->check_retain_source);
    assert_false(c->queue_qos0_messages || c->upgrade_outgoing_qos || c->check_payload_format);
    assert_string_equal(c->user, "noctule");
    assert_null(c->pid_file);
    assert_string_equal(c->listeners[0].auto_id_prefix, "auto-");
    assert_int_equal(c->listeners[0].max_qos, 2);
    assert_int_equal(c->listeners[0].max_topic_alias, 10);
    assert_int_equal(c->listeners[0].max_topic_alias_broker, 10);
    assert_int_equal(c->listeners[0].max_connections, 0);
    assert_int_equal(c->listeners[0].accept_protocol_versions, ACCEPT_MQTT_ALL);
    assert_true(c->listeners[0].allow_zero_length_clientid);
}

static void test_config_file_without_listeners_stays_on_loopback(void **state)
{
    const struct config *c = parse(*state, "max_keepalive 60\n");

    assert_true(c->local_only);
    assert_int_equal(c->listener_count, 4);
    assert_int_equal(c->max_keepalive, 60);
    assert_true(c->listeners[0].allow_anonymous);
}

static void test_config_file_without_listeners_may_still_forbid_anybody(void **state)
{
    const struct config *c = parse(*state, "allow_anonymous false\n");

    for (size_t i = 0; i < c->listener_count; i++)
        assert_false(c->listeners[i].allow_anonymous);
}

/* ---- the syntax ---- */

static void test_config_comments_blanks_and_line_ends_are_skipped(void **state)
{
    const struct config *c = parse(*state, "\xef\xbb\xbf# first\r\n\r\n   \n\t# indented\n"
                                           "max_keepalive \t 60   # seconds\r\n"
                                           "  sys_interval 7\nlistener 1884 # all addresses\n"
                                           "auto_id_prefix a b#c  \nallow_anonymous 1");

    assert_non_null(c);
    assert_int_equal(c->max_keepalive, 60);
    assert_int_equal(c->sys_interval, 7);
    assert_null(c->listeners[0].address);
    assert_string_equal(c->listeners[0].auto_id_prefix,
                        "a b#c"); /* a text has no comment behind it */
    assert_true(c->listeners[0].allow_anonymous);
}

static void test_config_units_are_multiplied(void **state)
{
    const struct config *c = parse(
        *state, "max_queued_bytes 10 MB\nmax_inflight_bytes 2MiB\nmax_packet_size 1kb\n"
                "write_timeout 2min\nsys_interval 1h\n");

    assert_non_null(c);
    assert_int_equal(c->max_queued_bytes, 10000000);
    assert_int_equal(c->max_inflight_bytes, 2097152);
    assert_int_equal(c->max_packet_size, 1000);
    assert_int_equal(c->write_timeout, 120);
    assert_int_equal(c->sys_interval, 3600);
}

static void test_config_client_expiration_counts_as_mosquitto_does(void **state)
{
    static const struct {
        const char *text;
        uint32_t seconds;
    } cases[] = {
        { "persistent_client_expiration 2h", 7200 },
        { "persistent_client_expiration 14d", 1209600 },
        { "persistent_client_expiration 1w", 604800 },
        { "persistent_client_expiration 2m", 5184000 },
        { "persistent_client_expiration 1y", 31536000 },
        { "persistent_client_expiration 0", 0 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(parse(*state, cases[i].text)->persistent_client_expiration,
                         cases[i].seconds);
    expect_error(*state, "persistent_client_expiration 10",
                 "test.conf:1: persistent_client_expiration: \"10\" is not a time: 0, or a number "
                 "with h, d, w, m (30 "
                 "days) or y");
}

static void test_config_minus_one_is_no_limit(void **state)
{
    const struct config *c = parse(*state,
                                   "max_queued_messages -1\nlistener 1884\nmax_connections -1\n");

    assert_int_equal(c->max_queued_messages, 0);
    assert_int_equal(c->listeners[0].max_connections, 0);
    expect_error(*state, "max_keepalive -1",
                 "test.conf:1: max_keepalive: \"-1\" is not a number of seconds from 0 to 65535 "
                 "(s, min, h or d may "
                 "follow it)");
}

static void test_config_log_options_add_up(void **state)
{
    const struct config *c = parse(
        *state, "log_dest stdout\nlog_dest file /var/log/a b.log\nlog_dest syslog\n"
                "log_type error\nlog_type subscribe\nlog_facility 3\n"
                "log_timestamp_format %Y-%m-%dT%H:%M:%S\n");

    assert_non_null(c);
    assert_int_equal(c->log_dest, LOG_TO_STDOUT | LOG_TO_FILE | LOG_TO_SYSLOG);
    assert_string_equal(c->log_file, "/var/log/a b.log");
    assert_int_equal(c->log_type, LEVEL_ERROR | LEVEL_SUBSCRIBE);
    assert_int_equal(c->log_facility, 3);
    assert_string_equal(c->log_timestamp_format, "%Y-%m-%dT%H:%M:%S");
}

static void test_config_log_none_takes_back_what_was_said(void **state)
{
    const struct config *c = parse(
        *state, "log_dest file /x\nlog_dest none\nlog_type all\nlog_type none\n");

    assert_int_equal(c->log_dest, 0);
    assert_null(c->log_file);
    assert_int_equal(c->log_type, 0);
}

static void test_config_versions_are_a_list(void **state)
{
    const struct config *c = parse(*state, "listener 1884\naccept_protocol_versions 3, 5 # no 4\n");

    assert_int_equal(c->listeners[0].accept_protocol_versions, ACCEPT_MQTT_31 | ACCEPT_MQTT_5);
    expect_error(*state, "accept_protocol_versions 3,6",
                 "test.conf:1: accept_protocol_versions: \"6\" is not one of 3, 4 or 5");
}

/* ---- listeners ---- */

static void test_listener_options_belong_to_the_listener_above(void **state)
{
    const struct config *c = parse(
        *state, "listener 1884 192.0.2.1\nmax_qos 1\nlistener 9002\nprotocol websockets\n"
                "socket_domain ipv6\nmax_connections 7\nlistener 0 /run/n.sock\n"
                "allow_anonymous true\n");
    char name[64];

    assert_non_null(c);
    assert_int_equal(c->listener_count, 3);
    assert_false(c->local_only);
    assert_string_equal(listener_name(&c->listeners[0], name, sizeof name), "192.0.2.1:1884");
    assert_int_equal(c->listeners[0].max_qos, 1);
    assert_int_equal(c->listeners[0].max_connections, 0);
    assert_int_equal(c->listeners[0].line, 1);
    assert_string_equal(listener_name(&c->listeners[1], name, sizeof name), "*:9002");
    assert_int_equal(c->listeners[1].protocol, LISTENER_WEBSOCKETS);
    assert_int_equal(c->listeners[1].socket_domain, 6);
    assert_int_equal(c->listeners[1].max_connections, 7);
    assert_int_equal(c->listeners[1].max_qos, 2);
    assert_string_equal(c->listeners[2].unix_path, "/run/n.sock");
    assert_null(c->listeners[2].address);
    assert_int_equal(c->listeners[2].port, 0);
    for (size_t i = 0; i < 3; i++)
        assert_true(c->listeners[i].allow_anonymous); /* one value for all, wherever it stands */
}

static void test_listener_options_before_the_first_hold_for_all(void **state)
{
    const struct config *c = parse(
        *state, "max_qos 1\nmax_connections 5\nlistener 1884\nlistener 1885\nmax_qos 0\n");

    assert_int_equal(c->listener_count, 2);
    assert_int_equal(c->listeners[0].max_qos, 1);
    assert_int_equal(c->listeners[1].max_qos, 0);
    assert_int_equal(c->listeners[0].max_connections, 5);
    assert_int_equal(c->listeners[1].max_connections, 5);
}

static void test_listener_that_is_configured_allows_nobody(void **state)
{
    struct fixture *f = *state;
    const struct config *c = parse(f, "listener 1884\n");

    assert_non_null(c);
    assert_false(c->listeners[0].allow_anonymous);
    assert_true(has_problem(
        f, "test.conf:1: warning: nobody may connect to listener *:1884: allow_anonymous is not "
           "true, and nothing else says who may"));
}

static void test_listener_settings_of_its_own_with_per_listener_settings(void **state)
{
    const struct config *c = parse(
        *state, "per_listener_settings true\nlistener 1884\nallow_anonymous true\n"
                "auto_id_prefix x-\nlistener 1885\nallow_zero_length_clientid false\n");

    assert_non_null(c);
    assert_true(c->listeners[0].allow_anonymous);
    assert_false(c->listeners[1].allow_anonymous);
    assert_string_equal(c->listeners[0].auto_id_prefix, "x-");
    assert_string_equal(c->listeners[1].auto_id_prefix, "auto-");
    assert_true(c->listeners[0].allow_zero_length_clientid);
    assert_false(c->listeners[1].allow_zero_length_clientid);
}

static void test_listener_permission_before_the_first_does_not_spread(void **state)
{
    struct fixture *f = *state;
    const struct config *c = parse(
        f, "per_listener_settings true\nallow_anonymous true\nlistener 1884\n");

    assert_non_null(c);
    assert_false(c->listeners[0].allow_anonymous);
    assert_true(has_problem(
        f, "test.conf:2: warning: allow_anonymous has no effect here: with per_listener_settings "
           "it belongs behind a listener"));
}

static void test_listener_allow_anonymous_wins_over_the_setting_for_all(void **state)
{
    const struct config *c = parse(*state,
                                   "listener 1884\nlistener_allow_anonymous false\nlistener 1885\n"
                                   "listener_auto_id_prefix y-\nallow_anonymous true\n");

    assert_false(c->listeners[0].allow_anonymous);
    assert_true(c->listeners[1].allow_anonymous);
    assert_string_equal(c->listeners[1].auto_id_prefix, "y-");
    expect_error(*state, "listener_allow_anonymous true\nlistener 1884\n",
                 "test.conf:1: listener_allow_anonymous must stand behind the listener that it is "
                 "meant for");
}

static void test_listener_of_old_files_owns_the_options_before_the_first(void **state)
{
    const struct config *c = parse(*state,
                                   "port 1884\nbind_address 192.0.2.1\nmax_qos 1\nlistener 1885\n"
                                   "allow_anonymous true\n");

    assert_int_equal(c->listener_count, 2);
    assert_int_equal(c->listeners[0].port, 1885);
    assert_int_equal(c->listeners[0].max_qos, 2);
    assert_int_equal(c->listeners[1].port, 1884);
    assert_string_equal(c->listeners[1].address, "192.0.2.1");
    assert_int_equal(c->listeners[1].max_qos, 1);
    assert_int_equal(parse(*state, "bind_address 192.0.2.1\n")->listeners[0].port, 1883);
}

static void test_listener_options_without_any_listener_make_the_default_one(void **state)
{
    const struct config *c = parse(*state, "max_connections 5\n");

    assert_int_equal(c->listener_count, 1);
    assert_int_equal(c->listeners[0].port, 1883);
    assert_int_equal(c->listeners[0].max_connections, 5);
    assert_false(c->local_only);
    assert_false(c->listeners[0].allow_anonymous);
}

static void test_listener_that_is_wrong_is_named(void **state)
{
    expect_error(*state, "listener 0\n",
                 "test.conf:1: listener: port 0 needs the path of a Unix socket behind it, of at "
                 "most 107 bytes");
    expect_error(*state, "listener 65536\n",
                 "test.conf:1: listener: \"65536\" is not a port from 0 to 65535");
    expect_error(*state, "listener mqtt\n",
                 "test.conf:1: listener: \"mqtt\" is not a port from 0 to 65535");
    expect_error(*state, "listener\n", "test.conf:1: listener needs a value");
    expect_error(*state, "port 0\n", "test.conf:1: port: \"0\" is not a port from 1 to 65535");
    expect_error(*state, "listener 1884\nlistener 1885\nlistener 1884\n",
                 "test.conf:3: there is a listener on *:1884 already (line 1)");
    assert_non_null(
        parse(*state, "listener 1884\nsocket_domain ipv4\nlistener 1884\nsocket_domain ipv6\n"));
}

static void test_listener_tls_options_must_fit_together(void **state)
{
    struct fixture *f = *state;

    expect_error(f, "listener 8883\ncertfile /c\n",
                 "test.conf:2: certfile needs a keyfile: listener *:8883");
    expect_error(f, "listener 8883\nkeyfile /k\n",
                 "test.conf:2: keyfile needs a certfile: listener *:8883");
    expect_error(f, "listener 8883\nrequire_certificate true\n",
                 "test.conf:2: require_certificate needs certfile and keyfile: listener *:8883 "
                 "speaks no TLS");
    expect_error(
        f, "listener 8883\ncertfile /c\nkeyfile /k\nrequire_certificate true\n",
        "test.conf:4: require_certificate needs cafile or capath: listener *:8883 trusts nobody");
    assert_non_null(
        parse(f, "listener 8883\ncertfile /c\nkeyfile /k\ncafile /a\nrequire_certificate true\n"
                 "tls_version tlsv1.3\nciphers A:B\nciphers_tls1.3 C\nallow_anonymous true\n"));
    assert_int_equal(f->problems.count, 0);
    assert_int_equal(f->config->listeners[0].tls_version, TLS_1_3);
    assert_string_equal(f->config->listeners[0].ciphers_tls13, "C");
    assert_non_null(parse(f, "listener 8883\ncafile /a\nallow_anonymous true\n"));
    assert_true(has_problem(
        f, "test.conf:2: warning: cafile has no effect without certfile and keyfile: listener "
           "*:8883 speaks no TLS"));
}

/* ---- problems ---- */

static void test_problems_are_all_listed_at_once(void **state)
{
    struct fixture *f = *state;

    assert_null(
        parse(f, "allow_anonymus true\nmax_qos 3\n\nretain_available yes\nprotocol webscokets\n"));
    assert_int_equal(f->problems.errors, 4);
    assert_string_equal(problem(f, 0),
                        "test.conf:1: there is no option \"allow_anonymus\"; did you mean "
                        "\"allow_anonymous\"?");
    assert_string_equal(problem(f, 1), "test.conf:2: max_qos: \"3\" is not a number from 0 to 2");
    assert_string_equal(problem(f, 2),
                        "test.conf:4: retain_available: \"yes\" is neither true nor false");
    assert_string_equal(
        problem(f, 3),
        "test.conf:5: protocol: \"webscokets\" is not one of mqtt or websockets; did "
        "you mean \"websockets\"?");
}

static void test_problems_beyond_the_limit_are_counted(void **state)
{
    struct fixture *f = *state;
    size_t lines = PROBLEMS_MAX + 10;
    char *text = calloc(lines, 3);

    assert_non_null(text);
    for (size_t i = 0; i < lines; i++)
        memcpy(text + 3 * i, "zz\n", 3);
    assert_null(config_parse(text, 3 * lines, "test.conf", &f->problems));
    free(text);
    assert_int_equal(f->problems.count, PROBLEMS_MAX);
    assert_int_equal(f->problems.errors, lines);
    assert_int_equal(f->problems.dropped, 10);
}

static void test_problems_show_no_control_characters(void **state)
{
    struct fixture *f = *state;
    static const char nul[] = "user a\0b\n";

    expect_error(f, "user \x1b[31mred\n",
                 "test.conf:1: the line holds characters that are not printable UTF-8");
    expect_error(f,
                 "us\x1b"
                 "er x\n",
                 "test.conf:1: the line holds characters that are not printable UTF-8");
    expect_error(f, "user \xff\xfe\n",
                 "test.conf:1: the line holds characters that are not printable UTF-8");
    problems_done(&f->problems);
    assert_null(config_parse(nul, sizeof nul - 1, "test.conf", &f->problems));
    assert_string_equal(problem(f, 0),
                        "test.conf:1: the line holds characters that are not printable UTF-8");
}

static void test_problems_long_line_is_an_error(void **state)
{
    struct fixture *f = *state;
    char text[6000];

    memset(text, 'a', sizeof text);
    assert_null(config_parse(text, sizeof text, "test.conf", &f->problems));
    assert_string_equal(problem(f, 0),
                        "test.conf:1: the line is too long: 6000 bytes, at most 4096 are allowed");
}

static void test_problems_second_value_is_named(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(
        parse(f, "max_keepalive 1\nmax_keepalive 2\nallow_anonymous true yes\n")->max_keepalive, 2);
    assert_true(has_problem(
        f, "test.conf:2: warning: max_keepalive is given again; this replaces line 1 of "
           "test.conf"));
    assert_true(has_problem(
        f, "test.conf:3: warning: allow_anonymous takes one value; \"yes\" behind it is ignored"));
}

static void test_problems_per_listener_settings_must_come_first(void **state)
{
    expect_error(*state, "allow_anonymous true\nper_listener_settings true\n",
                 "test.conf:2: per_listener_settings must stand before the options that it is "
                 "about (line 1 of "
                 "test.conf)");
}

/* ---- options of mosquitto that are not here ---- */

static void test_mosquitto_option_that_is_harmless_is_a_warning(void **state)
{
    struct fixture *f = *state;

    assert_non_null(parse(f, "persistence_file m.db\nautosave_interval 60\n"));
    assert_int_equal(f->problems.count, 2);
    assert_int_equal(f->problems.errors, 0);
    assert_string_equal(
        problem(f, 1),
        "test.conf:2: warning: autosave_interval is ignored: it is unnecessary: what "
        "is acknowledged is stored already; see durability");
    assert_non_null(
        parse(f, "retained_persistence true\nenable_control_api false\n")); /* asks for nothing */
    assert_int_equal(f->problems.count, 0);
}

static void test_durability_is_sync_or_an_interval(void **state)
{
    struct fixture *f = *state;
    struct config *config = parse(f, "");

    assert_true(config->persistence);
    assert_int_equal(config->durability_interval, 0);
    assert_int_equal(parse(f, "durability sync\n")->durability_interval, 0);
    assert_int_equal(parse(f, "durability interval 250\n")->durability_interval, 250);
    assert_null(parse(f, "durability interval\n"));
    assert_null(parse(f, "durability interval 0\n"));
    assert_null(parse(f, "durability never\n"));
    assert_string_equal(problem(f, 0), "test.conf:1: durability: \"never\" is neither \"sync\" nor "
                                       "\"interval\" with milliseconds from 1 to 60000");
}

static void test_names_of_clients_are_ruled_where_mosquitto_rules_them(void **state)
{
    struct fixture *f = *state;
    const struct config *c = parse(f, "allow_anonymous true\nlistener 1884\n"
                                      "use_username_as_clientid true\nlistener 1885\n"
                                      "clientid_prefixes dev-\n");

    assert_non_null(c);
    assert_true(c->listeners[0].use_username_as_clientid); /* of its listener alone */
    assert_false(c->listeners[1].use_username_as_clientid);
    c = parse(f, "per_listener_settings true\nclientid_prefixes dev-\nlistener 1884\n"
                 "allow_anonymous true\n");
    assert_non_null(c);
    assert_string_equal(c->clientid_prefixes, "dev-"); /* of all, wherever it stands */
    assert_int_equal(f->problems.count, 0);
}

static void test_identity_of_nobody_is_an_error(void **state)
{
    struct fixture *f = *state;

    expect_error(f,
                 "listener 8883\ncafile /c\ncertfile /c\nkeyfile /k\nuse_identity_as_username 1\n",
                 "test.conf:5: use_identity_as_username needs require_certificate true: clients of "
                 "listener *:8883 show none");
    expect_error(f,
                 "listener 8883\ncafile /c\ncertfile /c\nkeyfile /k\nrequire_certificate true\n"
                 "use_identity_as_username true\nuse_subject_as_username true\n",
                 "test.conf:7: only one of use_identity_as_username and use_subject_as_username: "
                 "listener *:8883");
    assert_non_null(parse(f, "listener 8883\ncafile /c\ncertfile /c\nkeyfile /k\n"
                             "require_certificate true\nuse_identity_as_username true\n"));
    assert_int_equal(f->problems.count, 0); /* and nobody is not let in */
}

static void test_mosquitto_option_that_restricts_is_an_error(void **state)
{
    static const char *const options[] = {
        "psk_file /p",
        "psk_hint h",
        "mount_point m/",
        "auth_opt_host x",
        "plugin_opt_x y",
        "bind_interface eth0",
        "connection b",
        "plugin_load a /p.so",
        "plugin_use a",
        "tls_engine pkcs11",
        "tls_keyform engine",
        "http_api 8080",
        "tls_engine_kpass_sha1 0",
        "auth_plugin_deny_special_chars true",
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        assert_null(parse(f, options[i]));
        assert_int_equal(f->problems.errors, 1);
        assert_non_null(
            strstr(problem(f, 0), "is not supported yet, and leaving it out would not be safe"));
    }
    assert_non_null(parse(f, "tls_keyform pem\nproxy_protocol_v2_require_tls false\n"));
    assert_int_equal(f->problems.count, 0);
}

static void test_mosquitto_plugins_that_are_options_here_are_taken(void **state)
{
    struct fixture *f = *state;
    const struct config *config;

    config = parse(f, "plugin /usr/lib/mosquitto_acl_file.so\nplugin_opt_acl_file /a\n");
    assert_non_null(config);
    assert_string_equal(config->listeners[0].acl_file, "/a");
    assert_non_null(config->listeners[0].acl);
    config = parse(f, "auth_plugin C:\\mosquitto\\mosquitto_acl_file.dll\nauth_opt_acl_file /a\n");
    assert_non_null(config);
    assert_string_equal(config->listeners[0].acl_file, "/a");
    assert_non_null(parse(f, "global_plugin mosquitto_acl_file.so\nacl_file /a\n"));
    config = parse(f, "plugin /x/mosquitto_acl_file.so\nplugin_opt_acl_file /a\n"
                      "plugin /x/mosquitto_password_file.so\nplugin_opt_password_file /p\n");
    assert_non_null(config);
    assert_string_equal(config->listeners[0].password_file, "/p");
    assert_string_equal(config->listeners[0].acl_file, "/a");
    assert_null(parse(f, "plugin mosquitto_password_file.so\nacl_file /a\n"));
    assert_null(parse(f, "plugin /usr/lib/mosquitto_acl_file.so\n"));
    assert_string_equal(
        problem(f, 0),
        "test.conf:1: plugin_opt_acl_file, with the path of the file, is missing behind it");
    assert_null(parse(f, "per_listener_settings true\nlistener 1883\nallow_anonymous true\n"
                         "plugin mosquitto_acl_file.so\nlistener 1884\nallow_anonymous true\n"
                         "acl_file /a\n"));
    assert_int_equal(f->problems.errors, 1);
    assert_null(parse(f, "per_listener_settings true\nglobal_plugin mosquitto_acl_file.so\n"));
}

static void test_mosquitto_plugin_of_somebody_else_is_an_error(void **state)
{
    static const char *const plugins[] = { "/usr/lib/mosquitto_dynamic_security.so",
                                           "/usr/lib/mosquitto_acl_file_more.so",
                                           "/mosquitto_acl_file.so/other.so",
                                           "mosquitto_acl_fil.so", "/" };
    static const char *const keys[] = { "plugin", "auth_plugin", "global_plugin" };
    struct fixture *f = *state;
    char text[128];

    for (size_t i = 0; i < sizeof plugins / sizeof *plugins; i++)
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
            snprintf(text, sizeof text, "%s %s\nacl_file /a\n", keys[k], plugins[i]);
            assert_null(parse(f, text));
            assert_int_equal(f->problems.errors, 1);
            assert_non_null(strstr(problem(f, 0), "plugins are not supported"));
        }
}

static void test_proxies_must_be_trusted_ones(void **state)
{
    struct fixture *f = *state;
    const struct config *config;

    config = parse(f, "trusted_proxies 10.0.0.0/8, ::1\nlistener 1883\nallow_anonymous true\n"
                      "enable_proxy_protocol 2\nlistener 1884\nlistener 0 /tmp/s\n"
                      "enable_proxy_protocol true\n");
    assert_non_null(config);
    assert_int_equal(config->proxies.count, 2);
    assert_int_equal(config->listeners[0].enable_proxy_protocol, PROXY_V2);
    assert_int_equal(config->listeners[1].enable_proxy_protocol, 0);
    assert_int_equal(config->listeners[2].enable_proxy_protocol, PROXY_V1 | PROXY_V2);
    assert_null(parse(f, "listener 1883\nenable_proxy_protocol 1\nallow_anonymous true\n"));
    assert_string_equal(
        problem(f, 0),
        "test.conf:2: enable_proxy_protocol needs trusted_proxies, the addresses of the proxies");
    assert_null(parse(f, "trusted_proxies 10.0.0.0/8 here\n"));
    assert_int_equal(f->problems.errors, 1);
}

static void test_origins_of_several_lines_add_up(void **state)
{
    struct fixture *f = *state;
    const struct config *config;

    config = parse(f, "listener 9001\nprotocol websockets\nallow_anonymous true\n"
                      "websockets_origin https://a\nwebsockets_origin https://b http://c\n");
    assert_non_null(config);
    assert_int_equal(f->problems.count, 0);
    assert_string_equal(config->listeners[0].websockets_origin, "https://a https://b http://c");
}

static void test_mosquitto_bridge_is_one_error(void **state)
{
    struct fixture *f = *state;

    assert_null(parse(f, "connection b\naddress 192.0.2.1\ntopic # both 2\nremote_password x\n"));
    assert_int_equal(f->problems.errors, 1);
    expect_error(
        f, "address 192.0.2.1\n",
        "test.conf:1: address belongs to a bridge (connection), which is not supported yet");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_config_without_a_file_listens_on_loopback_for_anybody),
        TEST(test_config_without_a_file_has_the_documented_defaults),
        TEST(test_config_file_without_listeners_stays_on_loopback),
        TEST(test_config_file_without_listeners_may_still_forbid_anybody),
        TEST(test_config_comments_blanks_and_line_ends_are_skipped),
        TEST(test_config_units_are_multiplied),
        TEST(test_config_client_expiration_counts_as_mosquitto_does),
        TEST(test_config_minus_one_is_no_limit),
        TEST(test_config_log_options_add_up),
        TEST(test_config_log_none_takes_back_what_was_said),
        TEST(test_config_versions_are_a_list),
        TEST(test_listener_options_belong_to_the_listener_above),
        TEST(test_listener_options_before_the_first_hold_for_all),
        TEST(test_listener_that_is_configured_allows_nobody),
        TEST(test_listener_settings_of_its_own_with_per_listener_settings),
        TEST(test_listener_permission_before_the_first_does_not_spread),
        TEST(test_listener_allow_anonymous_wins_over_the_setting_for_all),
        TEST(test_listener_of_old_files_owns_the_options_before_the_first),
        TEST(test_listener_options_without_any_listener_make_the_default_one),
        TEST(test_listener_that_is_wrong_is_named),
        TEST(test_listener_tls_options_must_fit_together),
        TEST(test_problems_are_all_listed_at_once),
        TEST(test_problems_beyond_the_limit_are_counted),
        TEST(test_problems_show_no_control_characters),
        TEST(test_problems_long_line_is_an_error),
        TEST(test_problems_second_value_is_named),
        TEST(test_problems_per_listener_settings_must_come_first),
        TEST(test_mosquitto_option_that_is_harmless_is_a_warning),
        TEST(test_durability_is_sync_or_an_interval),
        TEST(test_names_of_clients_are_ruled_where_mosquitto_rules_them),
        TEST(test_identity_of_nobody_is_an_error),
        TEST(test_mosquitto_option_that_restricts_is_an_error),
        TEST(test_mosquitto_plugins_that_are_options_here_are_taken),
        TEST(test_mosquitto_plugin_of_somebody_else_is_an_error),
        TEST(test_proxies_must_be_trusted_ones),
        TEST(test_origins_of_several_lines_add_up),
        TEST(test_mosquitto_bridge_is_one_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
