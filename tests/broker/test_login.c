/* SPDX-License-Identifier: MIT */
/*
 * Who is let in, and what he is called then. support/conversation.h explains the lines.
 */
#include "tests/broker/support/conversation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* CONNECT of the client 'a', with user name 'u' and password 'p' */
#define CONNECT_311 "10 13 0004 'MQTT' 04 c2 0000 0001 'a' 0001 'u' 0001 'p'"
#define CONNECT_5   "10 14 0004 'MQTT' 05 c2 0000 00 0001 'a' 0001 'u' 0001 'p'"

static void test_login_without_anonymous_and_without_anything_else_is_refused(void **state)
{
    (void)state;
    CONVERSE("allow_anonymous false", "a> {5}", "a< 20 03 00 87 00", "a.", "a> {311}",
             "a< 20 02 00 05", "a.", "a> " CONNECT_5, "a< 20 03 00 87 00", "a.");
}

static void test_login_user_name_as_client_identifier_keeps_sessions_apart(void **state)
{
    (void)state;
    /* b says it is 'a', and is 'v': a's connection goes on */
    CONVERSE("use_username_as_clientid true", "a> " CONNECT_311, "a< 20 02 00 00",
             "b> 10 13 0004 'MQTT' 04 c2 0000 0001 'a' 0001 'v' 0001 'p'", "b< 20 02 00 00",
             "a> c0 00", "a< d0 00",
             /* c says it is 'c', and is 'u': it takes the place of a */
             "c> 10 13 0004 'MQTT' 04 c2 0000 0001 'c' 0001 'u' 0001 'p'", "c< 20 02 00 00", "a<",
             "a.");
}

static void test_login_user_name_as_client_identifier_needs_one(void **state)
{
    (void)state;
    CONVERSE("use_username_as_clientid true", "a> {5}", "a< 20 03 00 87 00", "a.",
             "b> 10 0f 0004 'MQTT' 04 82 0000 0001 'a' 0000", "b< 20 02 00 05", "b.");
}

static void test_login_with_another_prefix_is_refused(void **state)
{
    (void)state;
    CONVERSE("clientid_prefixes dev-", "a> 10 11 0004 'MQTT' 04 02 0000 0005 'dev-1'",
             "a< 20 02 00 00", "b> {311}", "b< 20 02 00 05", "b.", "c> {5}", "c< 20 03 00 87 00",
             "c.", "d> 10 0f 0004 'MQTT' 04 02 0000 0003 'dev'", "d< 20 02 00 05", "d.");
}

static void test_login_with_an_identifier_of_ours_must_have_the_prefix_as_well(void **state)
{
    (void)state;
    CONVERSE("clientid_prefixes dev-", "a> 10 0c 0004 'MQTT' 04 02 0000 0000", "a< 20 02 00 05",
             "a.");
    CONVERSE("clientid_prefixes dev-\nauto_id_prefix dev-x", "a> 10 0c 0004 'MQTT' 04 02 0000 0000",
             "a< 20 02 00 00");
}

/* u's is "p", made by mosquitto_passwd 2.0; argon2id for v, whose is "q". */
#define U_IS_P                                                                                     \
    "u:$7$101$GRLCNV7CSXR8lXjz$rhlBJmMAWCTT4gIxsbWldSlEwP03nVfCJ5nng7RGMXQ6er/"                    \
    "nv8IUqVjzQSBfQMFaFi3rGD2pir4bEVcDWM//bw==\n"
#define V_IS_Q                                                                                     \
    "v:$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$PXbkSVSyH74AMTdZmrnxkJXtKWMBX0y0TLH9/"   \
    "glc01o\n"
#define U_IS_Q                                                                                     \
    "u:$7$101$D0RPKVpyo3KGHpfO$KmF7tUA0koEVZV2DH1lxfqRt3qaIOWIHhdO1gnztGF7vn+qycDgGC/MgEYgmFzxz/"  \
    "dZOt1pY1poMmZa/SpCFdw==\n"

/* ---- certificates ---- */

#define TLS_LINES "cafile /c\ncertfile /c\nkeyfile /c\nrequire_certificate true\n"

static void test_login_by_certificate_needs_no_password_and_takes_no_other_name(void **state)
{
    static const struct setting certified = {
        .workers = 1,
        .options = TLS_LINES "use_identity_as_username true\nuse_username_as_clientid true\n"
                             "allow_anonymous false",
        .users = U_IS_P,
        .identity = "device-1",
    };
    (void)state;
    CONVERSE_WITH(&certified, "a> {311}", "a< {ok311}",
                  /* says it is u, and is device-1: it takes the place of a */
                  "b> 10 13 0004 'MQTT' 04 c2 0000 0001 'b' 0001 'u' 0001 'p'", "b< {ok311}", "a<",
                  "a.");
}

static void test_login_by_certificate_without_a_name_is_refused(void **state)
{
    static const struct setting nameless = {
        .workers = 1,
        .options = TLS_LINES "use_subject_as_username true\nallow_anonymous true",
        .users = U_IS_P,
    };
    (void)state;
    CONVERSE_WITH(&nameless, "a> {5}", "a< 20 03 00 86 00", "a.", "a> " CONNECT_311,
                  "a< 20 02 00 04", "a.");
}

static void test_login_by_certificate_survives_a_reload(void **state)
{
    static const struct setting certified = {
        .workers = 1,
        .options = TLS_LINES "use_identity_as_username true",
        .identity = "device-1",
        .reloaded = TLS_LINES "use_identity_as_username true\nallow_anonymous false",
    };
    (void)state;
    CONVERSE_WITH(&certified, "a> {311}", "a< {ok311}", "=reload", "a> c0 00", "a< d0 00");
}

/* ---- passwords ---- */

static const struct setting users = { .workers = 2,
                                      .options = "allow_anonymous false",
                                      .users = U_IS_P V_IS_Q };

/* Wants 1 GiB. */
#define BIG                                                                                        \
    "$argon2id$v=19$m=1048576,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc\n"

#define WRONG_5   "10 14 0004 'MQTT' 05 c2 0000 00 0001 'a' 0001 'u' 0001 'x'"
#define WRONG_311 "10 13 0004 'MQTT' 04 c2 0000 0001 'a' 0001 'u' 0001 'x'"
#define UNKNOWN_5 "10 14 0004 'MQTT' 05 c2 0000 00 0001 'a' 0001 'n' 0001 'p'"

static void test_password_that_is_right_lets_in_once_it_is_checked(void **state)
{
    (void)state;
    CONVERSE_WITH(&users, "a> " CONNECT_5, "a<", "=login", "a< {ok5}", "a> c0 00", "a< d0 00");
    CONVERSE_WITH(&users, "a> " CONNECT_311, "a<", "=login", "a< {ok311}",
                  "b> 10 13 0004 'MQTT' 04 c2 0000 0001 'b' 0001 'v' 0001 'q'", "b<", "=login",
                  "b< {ok311}");
}

static void test_password_that_is_wrong_and_user_that_is_unknown_are_told_the_same(void **state)
{
    (void)state;
    CONVERSE_WITH(&users, "a> " WRONG_5, "=login", "a< 20 03 00 86 00", "a.", "a> " UNKNOWN_5, "a<",
                  "=login", "a< 20 03 00 86 00", "a.", "a> " WRONG_311, "=login", "a< 20 02 00 04",
                  "a.");
    /* empty, and left out: a user name without a password */
    CONVERSE_WITH(&users, "a> 10 13 0004 'MQTT' 05 c2 0000 00 0001 'a' 0001 'u' 0000", "=login",
                  "a< 20 03 00 86 00", "a.", "a> 10 10 0004 'MQTT' 04 82 0000 0001 'a' 0001 'u'",
                  "=login", "a< 20 02 00 04", "a.",
                  "a> 10 12 0004 'MQTT' 04 c2 0000 0001 'a' 0000 0001 'p'", "=login",
                  "a< 20 02 00 04", "a.");
}

static void test_password_of_somebody_else_lets_in_nobody(void **state)
{
    static const struct setting one = { .workers = 1, .users = U_IS_P };
    (void)state;
    /* for a user who is not there u's password is computed, and it is the right one */
    CONVERSE_WITH(&one, "a> " UNKNOWN_5, "=login", "a< 20 03 00 86 00", "a.", "a> " UNKNOWN_5, "a<",
                  "=login", "a< 20 03 00 86 00", "a.");
}

static void test_password_without_a_user_name_is_anonymous(void **state)
{
    static const struct setting anybody = { .workers = 1, .users = U_IS_P };
    (void)state;
    CONVERSE_WITH(&users, "a> {5}", "a< 20 03 00 87 00", "a.", "a> {311}", "a< 20 02 00 05", "a.",
                  "a> 10 11 0004 'MQTT' 05 42 0000 00 0001 'a' 0001 'p'", "a< 20 03 00 87 00",
                  "a.");
    CONVERSE_WITH(&anybody, "a> {5}", "a< {ok5}", "b> " WRONG_5, "=login", "b< 20 03 00 86 00",
                  "b.");
}

static void test_password_that_was_right_is_remembered_and_no_other(void **state)
{
    (void)state;
    CONVERSE_WITH(&users, "a> " CONNECT_5, "=login", "a< {ok5}", "a!",
                  /* at once, on any worker */
                  "b@1", "b> " CONNECT_5, "b< {ok5}", "b!",
                  /* another user with that password, and another password of that user, are not */
                  "c> 10 13 0004 'MQTT' 04 c2 0000 0001 'c' 0001 'v' 0001 'p'", "c<", "=login",
                  "c< 20 02 00 04", "c.", "d> " WRONG_5, "d<", "=login", "d< 20 03 00 86 00", "d.",
                  /* and a wrong one is not remembered as wrong, either */
                  "d> " WRONG_5, "d<", "=login", "d< 20 03 00 86 00", "d.");
}

static void test_packets_behind_connect_wait_for_the_password(void **state)
{
    (void)state;
    /* PINGREQ comes with CONNECT, SUBSCRIBE later; all is answered behind CONNACK */
    CONVERSE_WITH(&users, "a> " CONNECT_311 " c0 00", "a> 82 06 0001 0001 'f' 00", "a<", "=login",
                  "a< {ok311} d0 00 90 03 0001 00");
    /* nothing of it happens when the password is wrong */
    CONVERSE_WITH(&users, "b> " CONNECT_311, "=login", "b< {ok311}", "b> 82 06 0001 0001 'f' 00",
                  "b< 90 03 0001 00",
                  "a> 10 13 0004 'MQTT' 04 c2 0000 0001 'c' 0001 'u' 0001 'x'"
                  " 30 03 0001 'f'",
                  "=login", "a< 20 02 00 04", "a.", "b<");
}

static void test_stranger_who_sends_much_is_left_unread(void **state)
{
    char line[3 * 20000 + 100];
    size_t at = (size_t)snprintf(line, sizeof line, "a> " CONNECT_311);
    (void)state;
    for (unsigned i = 0; i < 10000; i++)
        at += (size_t)snprintf(line + at, sizeof line - at, "c000");
    CONVERSE_WITH(&users, line, "a|", "a<", "a> c000", "=login", "a-");
}

static void test_client_that_goes_before_its_password_is_checked_is_forgotten(void **state)
{
    (void)state;
    CONVERSE_WITH(&users, "a> " CONNECT_311, "a!", "b> " CONNECT_5, "=login", "b<", "=login",
                  "b< {ok5}");
    /* or is still not checked when all ends */
    CONVERSE_WITH(&users, "a> " CONNECT_311, "b> " CONNECT_5, "b!");
}

static void test_login_beyond_the_queue_is_told_that_the_server_is_busy(void **state)
{
    static const struct setting short_queue = { .workers = 1,
                                                .options = "auth_queue 2",
                                                .users = U_IS_P };
    (void)state;
    CONVERSE_WITH(&short_queue, "a> " WRONG_5, "b> " WRONG_5, "c> " CONNECT_5, "c< 20 03 00 89 00",
                  "c.", "d> " CONNECT_311, "d< 20 02 00 03", "d.", "=login", "c> " CONNECT_5, "c<",
                  "=login", "=login", "c< {ok5}");
}

static void test_login_that_is_not_checked_in_time_is_told_that_the_server_is_busy(void **state)
{
    (void)state;
    CONVERSE_WITH(&users, "a> " CONNECT_5, "+9999", "a<", "+500", "a< 20 03 00 89 00", "a.",
                  "=login");
}

static void test_password_that_would_exceed_the_memory_limit_is_not_computed(void **state)
{
    static const struct setting little = { .workers = 1,
                                           .options = "memory_limit 1000000000",
                                           .users = V_IS_Q "big:" BIG };
    (void)state;
    CONVERSE_WITH(&little, "a> 10 15 0004 'MQTT' 04 c2 0000 0001 'a' 0003 'big' 0001 'p'", "=login",
                  "a< 20 02 00 03", "a.",
                  "b> 10 13 0004 'MQTT' 04 c2 0000 0001 'b' 0001 'v' 0001 'q'", "=login",
                  "b< {ok311}");
}

/* ---- tokens ---- */

static const char secret[] = "a secret of more than thirty-two bytes";

/* {"sub":"alice","exp":1700000060}: a minute from the beginning of a conversation */
#define TOKEN                                                                                      \
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSIsImV4cCI6MTcwMDAwMDA2MH0.MLCoNz8Qkk-jku5LJm3DcC3-"    \
    "2fPbUJCeVQZi1obVKEI"
/* the same, which expired a second before */
#define EXPIRED                                                                                    \
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSIsImV4cCI6MTY5OTk5OTk5OX0.xQ8P5N-"                     \
    "ASy82GZABM00Ot2Yj3fadgO5Wnt4011DyH_g"

/* "a> CONNECT" of version 5 with this user name and password; `user` NULL: none */
static const char *connect_with(char letter, const char *user, const char *password)
{
    static char lines[8][1024];
    static unsigned next;
    char *line = lines[next++ % 8];
    size_t rest = 14 + (user ? 2 + strlen(user) : 0) + 2 + strlen(password);
    int at = snprintf(line, sizeof lines[0], "%c> 10 %02x %02x 0004 'MQTT' 05 %s 0000 00 0001 '@'",
                      letter, (unsigned)(rest & 127) | 128, (unsigned)(rest >> 7),
                      user ? "c2" : "42");
    if (user)
        at += snprintf(line + at, sizeof lines[0] - (size_t)at, "%04x '%s'", (unsigned)strlen(user),
                       user);
    snprintf(line + at, sizeof lines[0] - (size_t)at, "%04x '%s'", (unsigned)strlen(password),
             password);
    return line;
}

static void test_token_lets_in_whom_it_names_whatever_connect_says(void **state)
{
    static const struct setting tokens = { .workers = 1,
                                           .options = "allow_anonymous false\n"
                                                      "use_username_as_clientid true",
                                           .secret = secret };
    (void)state;
    CONVERSE_WITH(&tokens, connect_with('a', "bob", TOKEN), "a<", "=login", "a< {ok5}",
                  /* the same user: it takes the place of a */
                  connect_with('b', NULL, TOKEN), "=login", "b< {ok5}", "a< e0 01 8e", "a.",
                  connect_with('c', "alice", EXPIRED), "=login", "c< 20 03 00 86 00", "c.");
}

static void test_token_ends_its_connection_when_it_expires(void **state)
{
    static const struct setting tokens = { .workers = 1, .secret = secret };
    (void)state;
    CONVERSE_WITH(&tokens, connect_with('a', NULL, TOKEN), "=login", "a< {ok5}", "+59999", "a<",
                  "a> c0 00", "a< d0 00", "+1", "a< e0 01 a0", "a.", connect_with('a', NULL, TOKEN),
                  "=login", "a< 20 03 00 86 00", "a.");
}

static void test_token_is_as_old_as_the_clock_on_the_wall_says(void **state)
{
    static const struct setting later = { .workers = 1, .secret = secret, .wall_ahead = 60000 };
    static const struct setting earlier = { .workers = 1,
                                            .secret = secret,
                                            .wall_ahead = 0 - (uint64_t)30000 };
    (void)state;
    CONVERSE_WITH(&later, connect_with('a', NULL, TOKEN), "=login", "a< 20 03 00 86 00", "a.");
    CONVERSE_WITH(&earlier, connect_with('a', NULL, TOKEN), "=login", "a< {ok5}", "+45000",
                  "a> c0 00", "a< d0 00", "+44999", "a<", "+1", "a< e0 01 a0", "a.");
}

static void test_token_is_the_only_proof_where_there_is_no_password_file(void **state)
{
    static const struct setting tokens = { .workers = 1, .secret = secret };
    (void)state;
    /* allow_anonymous lets in who says nothing, not who says something that he does not prove */
    CONVERSE_WITH(&tokens, "a> {5}", "a< {ok5}", connect_with('b', "alice", "secret"),
                  "b< 20 03 00 86 00", "b.", connect_with('c', NULL, "secret"), "c< 20 03 00 86 00",
                  "c.", "d> 10 11 0004 'MQTT' 05 82 0000 00 0001 'd' 0001 'u'", "d< 20 03 00 86 00",
                  "d.", connect_with('e', NULL, "eyJ.x.y"), "=login", "e< 20 03 00 86 00", "e.");
}

static void test_token_and_password_go_side_by_side(void **state)
{
    static const struct setting both = {
        .workers = 1, .options = "allow_anonymous false", .users = U_IS_P, .secret = secret
    };
    (void)state;
    CONVERSE_WITH(&both, connect_with('a', "u", TOKEN), "=login", "a< {ok5}",
                  connect_with('b', "u", "p"), "=login", "b< {ok5}", connect_with('c', "u", "x"),
                  "=login", "c< 20 03 00 86 00", "c.", connect_with('d', NULL, "p"),
                  "d< 20 03 00 86 00", "d.");
}

/* {"acl":{"pub":["p","%u/o"],"sub":["s/#"],"all":["b"]}}, and {"acl":{}} */
#define TOKEN_WITH_TOPICS                                                                          \
    "eyJhbGciOiJIUzI1NiJ9."                                                                        \
    "eyJzdWIiOiJhbGljZSIsImV4cCI6MTcwMDAwMDA2MCwiYWNsIjp7InB1YiI6WyJwIiwiJXUvbyJdLCJzdWIiOlsicy8j" \
    "Il0sImFsbCI6WyJiIl19fQ.6mxPdtW8gLeKVhGpkKSUfoQIJWRNeumiNnW3jU9-XEA"
#define TOKEN_FOR_NOTHING                                                                          \
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSIsImV4cCI6MTcwMDAwMDA2MCwiYWNsIjp7fX0."                \
    "jWkNmsH8XFHtvPU2Lgb3Eo29YrHMqsly9cR-zn-mxMw"

#define PUBLISH(id, topic) "32 07 0001 '" topic "' " id " 00 'x'"
#define PUBACK(id, reason) "40 03 " id " " reason

static void test_token_says_which_topics_its_client_may_use(void **state)
{
    static const struct setting tokens = { .workers = 1, .secret = secret };
    (void)state;
    CONVERSE_WITH(
        &tokens, "z> {5}", "z< {ok5}", "z> 82 07 0001 00 0001 '#' 00", "z< 90 04 0001 00 00",
        connect_with('a', NULL, TOKEN_WITH_TOPICS), "=login", "a< {ok5}",
        /* may write p, b and its own o; not s */
        "a> " PUBLISH("0001", "p"), "a< 40 02 0001", "z< 30 05 0001 'p' 00 'x'",
        "a> " PUBLISH("0002", "b"), "a< 40 02 0002", "z< 30 05 0001 'b' 00 'x'",
        "a> 32 0d 0007 'alice/o' 0003 00 'x'", "a< 40 02 0003", "z< 30 0b 0007 'alice/o' 00 'x'",
        "a> " PUBLISH("0004", "s"), "a< " PUBACK("0004", "87"), "z<",
        /* may read s and b; not p */
        "a> 82 07 0001 00 0001 '#' 00", "a< 90 04 0001 00 00", "z> 30 05 0001 's' 00 'x'",
        "a< 30 05 0001 's' 00 'x'", "z> 30 05 0001 'b' 00 'x'", "a< 30 05 0001 'b' 00 'x'",
        "z> 30 05 0001 'p' 00 'x'", "a<");
}

static void test_token_that_names_no_topic_allows_none(void **state)
{
    static const struct setting tokens = { .workers = 1, .secret = secret };
    (void)state;
    CONVERSE_WITH(&tokens, connect_with('a', NULL, TOKEN_FOR_NOTHING), "=login", "a< {ok5}",
                  "a> " PUBLISH("0001", "p"), "a< " PUBACK("0001", "87"),
                  /* and one that does not speak of topics allows all of them */
                  connect_with('b', NULL, TOKEN), "=login", "b< {ok5}", "b> " PUBLISH("0001", "p"),
                  "b< " PUBACK("0001", "10"));
}

static void test_token_of_a_key_that_a_reload_takes_away_ends(void **state)
{
    static const struct setting changed = {
        .workers = 1,
        .secret = secret,
        .reloaded = "allow_anonymous true",
        .reloaded_secret = "another secret of thirty-two bytes"
    };
    static const struct setting same = { .workers = 1,
                                         .secret = secret,
                                         .reloaded = "allow_anonymous true",
                                         .reloaded_secret = secret };
    (void)state;
    CONVERSE_WITH(&changed, connect_with('a', NULL, TOKEN), "=login", "a< {ok5}", "=reload",
                  "a< e0 01 98", "a.");
    CONVERSE_WITH(&same, connect_with('a', NULL, TOKEN), "=login", "a< {ok5}", "=reload", "a<");
    /* what was found out by the old key is void */
    CONVERSE_WITH(&changed, connect_with('a', NULL, TOKEN), "=reload", "=login", "a<", "=login",
                  "a< 20 03 00 86 00", "a.");
}

/* ---- after a reload ---- */

static void test_reload_ends_those_whose_entry_has_gone_or_changed(void **state)
{
    static const struct setting changed = { .workers = 2,
                                            .options = "allow_anonymous true",
                                            .users = U_IS_P V_IS_Q,
                                            .reloaded = "allow_anonymous false",
                                            .reloaded_users = U_IS_Q V_IS_Q };
    (void)state;
    CONVERSE_WITH(&changed, "b@1", "a> " CONNECT_5, "=login", "a< {ok5}",
                  "b> 10 14 0004 'MQTT' 05 c2 0000 00 0001 'b' 0001 'v' 0001 'q'", "=login",
                  "b< {ok5}", "c> {5}", "c< {ok5}", "=reload", "a< e0 01 98", "a.", "b<",
                  "b> c0 00", "b< d0 00", "c< e0 01 98", "c.",
                  /* the old password is neither right nor remembered */
                  "a> " CONNECT_5, "a<", "=login", "a< 20 03 00 86 00", "a.",
                  "a> 10 14 0004 'MQTT' 05 c2 0000 00 0001 'a' 0001 'u' 0001 'q'", "=login",
                  "a< {ok5}");
}

static void test_reload_holds_for_a_login_that_waits(void **state)
{
    static const struct setting changed = {
        .workers = 1, .users = U_IS_P, .reloaded = "allow_anonymous true", .reloaded_users = U_IS_Q
    };
    (void)state;
    CONVERSE_WITH(&changed, "a> " CONNECT_5, "a<", "=reload", "a<", "=login", "a<", "=login",
                  "a< 20 03 00 86 00", "a.");
    CONVERSE_WITH(&changed, "a> 10 14 0004 'MQTT' 05 c2 0000 00 0001 'a' 0001 'u' 0001 'q'",
                  "=reload", "=login", "a<", "=login", "a< {ok5}");
}

static void test_reload_with_the_same_users_ends_nobody(void **state)
{
    static const struct setting same = { .workers = 1,
                                         .users = U_IS_P,
                                         .reloaded = "allow_anonymous true",
                                         .reloaded_users = V_IS_Q U_IS_P };
    (void)state;
    CONVERSE_WITH(&same, "a> " CONNECT_5, "=login", "a< {ok5}", "b> {5}", "b< {ok5}", "=reload",
                  "a<", "a> c0 00", "a< d0 00", "b<", "b> c0 00", "b< d0 00", "c> " CONNECT_5,
                  "c< {ok5}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_login_without_anonymous_and_without_anything_else_is_refused),
        cmocka_unit_test(test_login_user_name_as_client_identifier_keeps_sessions_apart),
        cmocka_unit_test(test_login_user_name_as_client_identifier_needs_one),
        cmocka_unit_test(test_login_with_another_prefix_is_refused),
        cmocka_unit_test(test_login_with_an_identifier_of_ours_must_have_the_prefix_as_well),
        cmocka_unit_test(test_login_by_certificate_needs_no_password_and_takes_no_other_name),
        cmocka_unit_test(test_login_by_certificate_without_a_name_is_refused),
        cmocka_unit_test(test_login_by_certificate_survives_a_reload),
        cmocka_unit_test(test_password_that_is_right_lets_in_once_it_is_checked),
        cmocka_unit_test(test_password_that_is_wrong_and_user_that_is_unknown_are_told_the_same),
        cmocka_unit_test(test_password_of_somebody_else_lets_in_nobody),
        cmocka_unit_test(test_password_without_a_user_name_is_anonymous),
        cmocka_unit_test(test_password_that_was_right_is_remembered_and_no_other),
        cmocka_unit_test(test_packets_behind_connect_wait_for_the_password),
        cmocka_unit_test(test_stranger_who_sends_much_is_left_unread),
        cmocka_unit_test(test_client_that_goes_before_its_password_is_checked_is_forgotten),
        cmocka_unit_test(test_login_beyond_the_queue_is_told_that_the_server_is_busy),
        cmocka_unit_test(test_login_that_is_not_checked_in_time_is_told_that_the_server_is_busy),
        cmocka_unit_test(test_password_that_would_exceed_the_memory_limit_is_not_computed),
        cmocka_unit_test(test_token_lets_in_whom_it_names_whatever_connect_says),
        cmocka_unit_test(test_token_ends_its_connection_when_it_expires),
        cmocka_unit_test(test_token_is_as_old_as_the_clock_on_the_wall_says),
        cmocka_unit_test(test_token_is_the_only_proof_where_there_is_no_password_file),
        cmocka_unit_test(test_token_and_password_go_side_by_side),
        cmocka_unit_test(test_token_says_which_topics_its_client_may_use),
        cmocka_unit_test(test_token_that_names_no_topic_allows_none),
        cmocka_unit_test(test_token_of_a_key_that_a_reload_takes_away_ends),
        cmocka_unit_test(test_reload_ends_those_whose_entry_has_gone_or_changed),
        cmocka_unit_test(test_reload_holds_for_a_login_that_waits),
        cmocka_unit_test(test_reload_with_the_same_users_ends_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
