/* SPDX-License-Identifier: MIT */
/*
 * CONNECT and what it decides: versions, refusals, identifiers, limits, keep-alive, and how long
 * the session lives. support/conversation.h explains the lines.
 */
#include "tests/broker/support/conversation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static const struct setting two = { .workers = 2 };

/* What CONNACK says of this broker, in a list of properties */
#define LIMITS         "21 03e8 27 001e8480 22 000a"
#define BACK5          "20 0e 01 00 0b " LIMITS
#define KEPT(secs)     "10 13 0004 'MQTT' 05 00 0000 05 11 " secs " 0001 '@'"
#define TOLD_5(reason) "a< 20 03 00 " reason " 00", "a."

/* One utterance a line, and what it brings. */
/* clang-format off */

/* ---- versions ---- */

static void test_connect_bridge_bit_is_accepted_in_every_version(void **state)
{ /* [MQTT5-3.1.4-5] [MQTT311-3.1.4-4]: mosquitto's bridges set the highest bit of the version */
    (void)state;
    CONVERSE(NULL,
             "a> 10 0f 0006 'MQIsdp' 83 02 0000 0001 'a'", "a< 20 02 00 00",
             "b> 10 0d 0004 'MQTT' 84 02 0000 0001 'b'", "b< 20 02 00 00",
             "c> 10 0e 0004 'MQTT' 85 02 0000 00 0001 'c'", "c< {ok5}");
}

static void test_connect_name_and_version_that_do_not_belong_together_are_refused(void **state)
{ /* [MQTT5-3.1.2-1] [MQTT5-3.1.2-2] [MQTT311-3.1.2-1] [MQTT311-3.1.2-2] */
    static const char *const protocols[] = {
        "0d 0004 'MQTT' 00", "0d 0004 'MQTT' 03", "0d 0004 'MQTT' 06",   "0d 0004 'MQTT' 7f",
        "0d 0004 'MQTT' ff", "0d 0004 'mqtt' 04", "0f 0006 'MQIsdp' 04", "0f 0006 'MQIsdp' 05",
        "0d 0004 'MQTX' 05", "09 0000 04",        "0c 0003 'MQT' 04",
    };
    (void)state;
    for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++) {
        char line[100];
        snprintf(line, sizeof line, "a> 10 %s 02 0000 0001 'a'", protocols[i]);
        CONVERSE(NULL, line, "a< 20 02 00 01", "a.");
    }
}

static void test_connect_cut_off_anywhere_is_malformed(void **state)
{ /* [MQTT5-3.1.4-1] [MQTT311-3.1.4-1] [MQTT5-4.13.1-1] */
    static const char *const bytes[] = { "00", "04", "'M'", "'Q'", "'T'", "'T'", "05", "06", "00", "00", "00", "00",
                                         "01", "'a'", "00", "00", "01", "'t'", "00", "01", "'x'" };
    enum { WHOLE = sizeof bytes / sizeof *bytes, VERSION_AT = 6 };
    (void)state;
    for (size_t len = 0; len < WHOLE; len++) {
        char line[200];
        int at = snprintf(line, sizeof line, "a> 10 %02x", (unsigned)len);
        for (size_t i = 0; i < len; i++)
            at += snprintf(line + at, sizeof line - (size_t)at, "%s", bytes[i]);
        CONVERSE(NULL, line, len > VERSION_AT ? "a< 20 03 00 81 00" : "a<", "a.");
    }
}

/* ---- flags and fields ---- */

struct bad { /* a CONNECT of 3.1.1 and one of 5 that break the same rule; NULL: not in this version */
    const char *v311, *v5;
};

static const struct bad malformed[] = {
    /* the reserved flag: [MQTT5-3.1.2-3] [MQTT311-3.1.2-3] */
    { "10 0d 0004 'MQTT' 04 03 0000 0001 'a'", "10 0e 0004 'MQTT' 05 03 0000 00 0001 'a'" },
    /* will QoS without a will: [MQTT5-3.1.2-11] [MQTT311-3.1.2-13] */
    { "10 0d 0004 'MQTT' 04 0a 0000 0001 'a'", "10 0e 0004 'MQTT' 05 0a 0000 00 0001 'a'" },
    /* will QoS 3: [MQTT5-3.1.2-12] [MQTT311-3.1.2-14] */
    { "10 13 0004 'MQTT' 04 1e 0000 0001 'a' 0001 't' 0001 'x'", "10 15 0004 'MQTT' 05 1e 0000 00 0001 'a' 00 0001 't' 0001 'x'" },
    /* will retain without a will: [MQTT5-3.1.2-13] [MQTT311-3.1.2-15] */
    { "10 0d 0004 'MQTT' 04 22 0000 0001 'a'", "10 0e 0004 'MQTT' 05 22 0000 00 0001 'a'" },
    /* a will that is not there: [MQTT5-3.1.2-9] [MQTT311-3.1.2-9] */
    { "10 0d 0004 'MQTT' 04 06 0000 0001 'a'", "10 0e 0004 'MQTT' 05 06 0000 00 0001 'a'" },
    /* a will that no flag announces: [MQTT311-3.1.2-11] */
    { "10 13 0004 'MQTT' 04 02 0000 0001 'a' 0001 't' 0001 'x'", "10 15 0004 'MQTT' 05 02 0000 00 0001 'a' 00 0001 't' 0001 'x'" },
    /* a user name that no flag announces: [MQTT5-3.1.2-16] [MQTT311-3.1.2-18] */
    { "10 10 0004 'MQTT' 04 02 0000 0001 'a' 0001 'u'", "10 11 0004 'MQTT' 05 02 0000 00 0001 'a' 0001 'u'" },
    /* a user name that is not there: [MQTT5-3.1.2-17] [MQTT311-3.1.2-19] */
    { "10 0d 0004 'MQTT' 04 82 0000 0001 'a'", "10 0e 0004 'MQTT' 05 82 0000 00 0001 'a'" },
    /* a password that no flag announces: [MQTT5-3.1.2-18] [MQTT311-3.1.2-20] */
    { "10 13 0004 'MQTT' 04 82 0000 0001 'a' 0001 'u' 0001 'p'", "10 14 0004 'MQTT' 05 82 0000 00 0001 'a' 0001 'u' 0001 'p'" },
    /* a password that is not there: [MQTT5-3.1.2-19] [MQTT311-3.1.2-21] */
    { "10 10 0004 'MQTT' 04 c2 0000 0001 'a' 0001 'u'", "10 11 0004 'MQTT' 05 c2 0000 00 0001 'a' 0001 'u'" },
    /* a password without a user name, which version 5 allows: [MQTT311-3.1.2-22] */
    { "10 10 0004 'MQTT' 04 42 0000 0001 'a' 0001 'p'", NULL },
    /* identifier, will topic and user name that are not UTF-8: [MQTT5-3.1.3-4] [MQTT5-3.1.3-11] [MQTT5-3.1.3-12]
     * [MQTT311-3.1.3-4] [MQTT311-3.1.3-10] [MQTT311-3.1.3-11] */
    { "10 0d 0004 'MQTT' 04 02 0000 0001 ff", "10 0e 0004 'MQTT' 05 02 0000 00 0001 ff" },
    { "10 0d 0004 'MQTT' 04 02 0000 0001 00", "10 0e 0004 'MQTT' 05 02 0000 00 0001 00" },
    { "10 13 0004 'MQTT' 04 06 0000 0001 'a' 0001 ff 0001 'x'", "10 15 0004 'MQTT' 05 06 0000 00 0001 'a' 00 0001 ff 0001 'x'" },
    { "10 10 0004 'MQTT' 04 82 0000 0001 'a' 0001 ff", "10 11 0004 'MQTT' 05 82 0000 00 0001 'a' 0001 ff" },
    /* no identifier: [MQTT5-3.1.3-3] [MQTT311-3.1.3-3] */
    { "10 0a 0004 'MQTT' 04 02 0000", "10 0b 0004 'MQTT' 05 02 0000 00" },
    /* no length of the properties: [MQTT5-2.2.2-1] */
    { NULL, "10 0a 0004 'MQTT' 05 02 0000" },
    /* a property of another packet */
    { NULL, "10 11 0004 'MQTT' 05 02 0000 03 23 0001 0001 'a'" },
};

static void test_connect_malformed_is_told_0x81_or_nothing(void **state)
{ /* [MQTT5-3.1.4-1] [MQTT311-3.1.4-1] [MQTT5-3.2.2-6] [MQTT5-3.2.2-7] [MQTT311-3.2.2-6] */
    (void)state;
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
        char line[200];
        if (malformed[i].v311) {
            snprintf(line, sizeof line, "a> %s", malformed[i].v311);
            CONVERSE(NULL, line, "a<", "a.");
        }
        if (malformed[i].v5) {
            snprintf(line, sizeof line, "a> %s", malformed[i].v5);
            CONVERSE(NULL, line, TOLD_5("81"));
        }
    }
}

static void test_connect_property_that_breaks_a_rule_is_told_0x82(void **state)
{ /* section 3.1.2.11: twice, or a value that is none [MQTT5-4.13.2-1] */
    static const char *const wrong[] = {
        "a> 10 18 0004 'MQTT' 05 02 0000 0a 11 00000001 11 00000001 0001 'a'", /* session expiry */
        "a> 10 11 0004 'MQTT' 05 02 0000 03 21 0000 0001 'a'",                 /* receive maximum */
        "a> 10 13 0004 'MQTT' 05 02 0000 05 27 00000000 0001 'a'",             /* maximum packet size */
        "a> 10 10 0004 'MQTT' 05 02 0000 02 17 02 0001 'a'",   /* request problem information */
        "a> 10 10 0004 'MQTT' 05 02 0000 02 19 02 0001 'a'",   /* request response information */
        "a> 10 12 0004 'MQTT' 05 02 0000 04 16 0001 ff 0001 'a'", /* data of no method */
    };
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CONVERSE(NULL, wrong[i], TOLD_5("82"));
}

static void test_connect_with_every_field_is_accepted(void **state)
{ /* [MQTT5-3.1.3-1] [MQTT311-3.1.3-1] [MQTT5-3.1.2-17] [MQTT5-3.1.2-19]: identifier, will, user name, password */
    (void)state;
    CONVERSE(NULL,
             "a> 10 1b 0004 'MQTT' 05 ee 0000 00 0001 'a' 00 0001 't' 0001 'x' 0001 'u' 0001 'p'", "a< {ok5}",
             "b> 10 19 0004 'MQTT' 04 ee 0000 0001 'b' 0001 't' 0001 'x' 0001 'u' 0001 'p'", "b< {ok311}",
             "c> 10 11 0004 'MQTT' 05 42 0000 00 0001 'c' 0001 'p'", "c< {ok5}", /* a password alone */
             "d> 10 29 0004 'MQTT' 05 02 0000 1b 11 00000000 21 000a 27 00001000 22 0000 19 01 17 00 26 0001 'k' 0001 'v' 0001 'd'",
             "d< {ok5}");
}

static void test_connect_response_information_is_not_offered(void **state)
{ /* [MQTT5-3.1.2-28] */
    (void)state;
    CONVERSE(NULL, "a> 10 10 0004 'MQTT' 05 02 0000 02 19 01 0001 'a'", "a< {ok5}",
             "b> 10 10 0004 'MQTT' 05 02 0000 02 19 00 0001 'b'", "b< {ok5}");
}

static void test_connect_byte_by_byte_is_the_same(void **state)
{
    (void)state;
    CONVERSE(NULL, "a> 10", "a> 0e", "a> 00", "a> 04", "a> 'M'", "a> 'Q'", "a> 'T'", "a> 'T'", "a> 05",
             "a> 02", "a> 00", "a> 00", "a> 00", "a> 00", "a> 01", "a<", "a> 'a'", "a< {ok5}");
}

/* ---- the first packet, and the second ---- */

static void test_connect_first_packet_of_any_other_type_closes(void **state)
{ /* [MQTT5-3.1.0-1] [MQTT311-3.1.0-1] [MQTT5-3.14.0-1] [MQTT311-4.8.0-1] [MQTT311-3.2.0-1] */
    (void)state;
    for (unsigned type = 0; type < 16; type++) {
        char line[100];
        if (type == 1)
            continue;
        snprintf(line, sizeof line, "a> %x0 0d 0004 'MQTT' 04 02 0000 0001 'a'", type);
        CONVERSE(NULL, line, "a<", "a.");
    }
    CONVERSE(NULL, "a> 11 0d 0004 'MQTT' 04 02 0000 0001 'a'", "a<", "a."); /* [MQTT5-2.1.3-1] [MQTT311-2.2.2-2] */
}

static void test_connect_second_one_ends_the_connection_and_sends_the_will(void **state)
{ /* [MQTT5-3.1.0-2] [MQTT311-3.1.0-2] [MQTT5-3.1.2-8] */
    (void)state;
    CONVERSE(NULL,
             "w> {5} 82 07 0001 00 0001 't' 00", "w< {ok5} 90 04 0001 00 00",
             "a> 10 15 0004 'MQTT' 05 06 0000 00 0001 'a' 00 0001 't' 0001 'x'", "a< {ok5}",
             "a> {5} c0 00", "a< e0 01 82", "a.", "w< 30 05 0001 't' 00 'x'");
}

static void test_connect_too_late_closes_without_a_word(void **state)
{ /* [MQTT5-3.14.0-1] */
    (void)state;
    CONVERSE(NULL, "a> 10 0e 0004 'MQTT' 05", "+9000", "a> 02", "+1500", "a<", "a.",
             "b> {5}", "b< {ok5}", "+60000", "b> c0 00", "b< d0 00");
}

/* ---- refusals ---- */

static void test_connect_refusals_have_the_code_of_their_version(void **state)
{ /* [MQTT5-3.1.4-2] [MQTT5-3.2.2-6] [MQTT5-3.2.2-7] [MQTT311-3.2.2-4] [MQTT311-3.2.2-5] [MQTT5-3.1.3-8]
   * [MQTT311-3.1.3-8] [MQTT311-3.1.3-9] */
    (void)state;
    CONVERSE("allow_zero_length_clientid false",
             "a> 10 0d 0004 'MQTT' 05 02 0000 00 0000", "a< 20 03 00 85 00", "a.",
             "b> 10 0c 0004 'MQTT' 04 02 0000 0000", "b< 20 02 00 02", "b.");
    CONVERSE(NULL,
             "a> 10 0e 0006 'MQIsdp' 03 02 0000 0000", "a< 20 02 00 02", "a.", /* never in 3.1 */
             "b> 10 0c 0004 'MQTT' 04 00 0000 0000", "b< 20 02 00 02", "b.");
    CONVERSE(NULL, /* a will for the broker's own topics: 0x87, 5 */
             "a> 10 18 0004 'MQTT' 05 06 0000 00 0001 'a' 00 0004 '$SYS' 0001 'x'", "a< 20 03 00 87 00", "a.",
             "b> 10 16 0004 'MQTT' 04 06 0000 0001 'b' 0004 '$SYS' 0001 'x'", "b< 20 02 00 05", "b.");
    CONVERSE("accept_protocol_versions 5",
             "a> 10 0f 0006 'MQIsdp' 03 02 0000 0001 'a'", "a< 20 02 00 01", "a.",
             "b> {311}", "b< 20 02 00 01", "b.", "c> {5}", "c< {ok5}");
}

static void test_connect_where_nobody_is_allowed_is_refused(void **state)
{ /* [MQTT5-3.1.4-2] [MQTT311-3.2.2-5] */
    (void)state;
    CONVERSE("allow_anonymous false", "a> {5}", TOLD_5("87"), "b> {311}", "b< 20 02 00 05", "b.");
}

static void test_connect_refused_makes_no_session_and_sends_no_will(void **state)
{ /* [MQTT5-3.1.4-6] [MQTT311-3.1.4-5] [MQTT5-4.12.0-1] [MQTT5-4.12.0-4] */
    (void)state;
    CONVERSE(NULL,
             "w> {5} 82 07 0001 00 0001 't' 00", "w< {ok5} 90 04 0001 00 00",
             "a> 10 1f 0004 'MQTT' 05 04 0000 0a 11 00000064 15 0002 'X1' 0001 'a' 00 0001 't' 0001 'x'", "a< 20 03 00 8c 00", "a.",
             "w<", "a> " KEPT("00000064"), "a< {ok5}");
}

/* ---- AUTH ---- */

static void test_auth_is_never_wanted(void **state)
{ /* [MQTT5-4.12.0-7] [MQTT5-3.15.1-1] [MQTT5-3.15.2-1] [MQTT5-4.12.0-6] */
    (void)state;
    CONVERSE(NULL,
             "a> {5}", "a< {ok5}", "a> f0 02 18 00", "a< e0 01 82", "a.",
             "b> {5}", "b< {ok5}", "b> f0 07 19 05 15 0002 'X1'", "b< e0 01 82", "b.",
             "c> {5}", "c< {ok5}", "c> f1 00", "c< e0 01 81", "c.",
             "d> {5}", "d< {ok5}", "d> f0 02 17 00", "d< e0 01 82", "d.", /* no such code */
             "e> {311}", "e< {ok311}", "e> f0 00", "e<", "e.",
             "f> f0 00", "f<", "f.");
}

/* ---- identifiers ---- */

static void test_connect_identifiers_of_any_length_and_letters_are_accepted(void **state)
{ /* [MQTT5-3.1.3-5] [MQTT311-3.1.3-5] [MQTT5-3.1.3-2] */
    (void)state;
    CONVERSE(NULL,
             "a> 10 24 0004 'MQTT' 05 02 0000 00 0017 '0123456789abcdefghijklm'", "a< {ok5}",
             "b> 10 24 0004 'MQTT' 05 02 0000 00 0017 'NOPQRSTUVWXYZ0123456789'", "b< {ok5}",
             "c> 10 2c 0004 'MQTT' 04 02 0000 0020 'a name / of + more # than $ 23 ..'", "c< {ok311}",
             "d> 10 10 0004 'MQTT' 05 02 0000 00 0003 e282ac", "d< {ok5}", "a<", "b<", "c<");
}

static void test_connect_without_identifier_each_gets_its_own(void **state)
{ /* [MQTT5-3.1.3-6] [MQTT5-3.1.3-7] [MQTT5-3.2.2-16] [MQTT311-3.1.3-6] */
    (void)state;
    CONVERSE("auto_id_prefix p-",
             "a> 10 0d 0004 'MQTT' 05 02 0000 00 0000", "a^ 20 33 00 00 30 21 03e8 27 001e8480 12 0022 'p-'",
             "b> 10 12 0004 'MQTT' 05 00 0000 05 11 00000064 0000", "b^ 20 33 00 00 30 21 03e8 27 001e8480 12 0022 'p-'",
             "c> 10 0c 0004 'MQTT' 04 02 0000 0000", "c< {ok311}", "d> 10 0c 0004 'MQTT' 04 02 0000 0000", "d< {ok311}",
             "a> c0 00", "a< d0 00", "b> c0 00", "b< d0 00", "c> c0 00", "c< d0 00", "d> c0 00", "d< d0 00");
}

/* ---- how long a session lives ---- */

static void test_connect_expiry_absent_or_zero_ends_with_the_connection(void **state)
{ /* [MQTT5-3.1.2-23] [MQTT5-4.1.0-1] [MQTT5-4.1.0-2] [MQTT311-3.1.2-6] */
    (void)state;
    CONVERSE(NULL,
             "a> 10 0e 0004 'MQTT' 05 00 0000 00 0001 'a'", "a< {ok5}", "a!", "a> " KEPT("00000000"), "a< {ok5}", "a!",
             "a> " KEPT("00000000"), "a< {ok5}", "a!",
             "b> {311}", "b< {ok311}", "b!", "b> 10 0d 0004 'MQTT' 04 00 0000 0001 'b'", "b< {ok311}");
}

static void test_connect_expiry_survives_a_clean_start(void **state)
{ /* [MQTT5-3.1.2-4] [MQTT5-3.1.4-4] [MQTT5-3.2.2-2]: clean start is about the past, expiry about the future */
    (void)state;
    CONVERSE(NULL,
             "a> 10 13 0004 'MQTT' 05 02 0000 05 11 00000064 0001 'a'", "a< {ok5}", "a!",
             "a> " KEPT("00000064"), "a< " BACK5, "a!",
             "a> 10 13 0004 'MQTT' 05 02 0000 05 11 00000064 0001 'a'", "a< {ok5}");
}

static void test_connect_session_is_one_for_all_versions(void **state)
{ /* [MQTT5-3.1.2-5] [MQTT311-3.1.2-4] [MQTT311-3.2.2-2] [MQTT5-3.2.2-3]; 3.1 has no session present */
    (void)state;
    CONVERSE(NULL,
             "a> " KEPT("00000064"), "a< {ok5}", "a!",
             "a> 10 0d 0004 'MQTT' 04 00 0000 0001 'a'", "a< 20 02 01 00", "a!",
             "a> 10 0f 0006 'MQIsdp' 03 00 0000 0001 'a'", "a< 20 02 00 00", "a!",
             "+31536000000", /* 3.1.1 has made it one that never expires */
             "a> " KEPT("00000064"), "a< " BACK5);
}

static void test_disconnect_changes_the_expiry(void **state)
{ /* section 3.14.2.2.2 [MQTT5-3.1.2-23] */
    (void)state;
    CONVERSE(NULL, /* to zero */
             "a> " KEPT("00000064"), "a< {ok5}", "a> e0 07 00 05 11 00000000", "a<", "a.", "a> " KEPT("00000064"), "a< {ok5}");
    CONVERSE(NULL, /* to never */
             "a> " KEPT("00000001"), "a< {ok5}", "a> e0 07 00 05 11 ffffffff", "a.", "+31536000000", "a> " KEPT("00000064"), "a< " BACK5);
    CONVERSE(NULL, /* to more */
             "a> " KEPT("00000001"), "a< {ok5}", "a> e0 07 00 05 11 0000003c", "a.", "+59000", "a> " KEPT("00000001"), "a< " BACK5);
    CONVERSE(NULL, /* without a word about it: as CONNECT said */
             "a> " KEPT("00000002"), "a< {ok5}", "a> e0 02 00 00", "a.", "+1500", "a> " KEPT("00000002"), "a< " BACK5, "a> e0 00", "a.",
             "+2500", "a> " KEPT("00000002"), "a< {ok5}");
    CONVERSE("persistent_client_expiration 1m", /* not beyond the limit */
             "a> 10 13 0004 'MQTT' 05 00 0000 05 11 0000003c 0001 'a'", "a< {ok5}", "a> e0 07 00 05 11 ffffffff", "a.",
             "+2505600000", "a> " KEPT("0000003c"), "a< " BACK5, "a> e0 07 00 05 11 ffffffff", "a.",
             "+2678400000", "a> " KEPT("0000003c"), "a< {ok5}");
}

static void test_disconnect_cannot_give_life_to_a_session_that_has_none(void **state)
{ /* section 3.14.2.2.2 */
    (void)state;
    CONVERSE(NULL,
             "a> " KEPT("00000000"), "a< {ok5}", "a> e0 07 00 05 11 00000001", "a< e0 01 82", "a.",
             "b> {5}", "b< {ok5}", "b> e0 07 00 05 11 00000000", "b<", "b.", /* zero stays zero */
             "c> {5}", "c< {ok5}", "c> e0 07 00 05 11 ffffffff", "c< e0 01 82", "c.");
}

static void test_disconnect_that_is_not_valid_is_told(void **state)
{ /* [MQTT5-3.14.1-1] [MQTT311-3.14.1-1] [MQTT5-3.14.2-1] [MQTT5-4.13.1-1] */
    (void)state;
    CONVERSE(NULL,
             "a> {5}", "a< {ok5}", "a> e2 00", "a< e0 01 81", "a.",
             "b> {5}", "b< {ok5}", "b> e0 01 8b", "b< e0 01 82", "b.", /* a server's code */
             "c> {5}", "c< {ok5}", "c> e0 02 00 01", "c< e0 01 81", "c.",
             "d> {311}", "d< {ok311}", "d> e0 01 00", "d<", "d.");
}

/* ---- keep-alive ---- */

static void test_keep_alive_of_zero_never_ends(void **state)
{
    (void)state;
    CONVERSE(NULL, "a> {5}", "a< {ok5}", "b> {311}", "b< {ok311}", "+31536000000", "a> c0 00", "a< d0 00", "b> c0 00", "b< d0 00");
}

static void test_keep_alive_is_one_and_a_half_times_in_every_version(void **state)
{ /* [MQTT5-3.1.2-22] [MQTT311-3.1.2-24] [MQTT5-3.2.2-22] */
    (void)state;
    CONVERSE("max_keepalive 100",
             "a> 10 0d 0004 'MQTT' 04 02 000a 0001 'a'", "a< {ok311}",
             "b> 10 0e 0004 'MQTT' 05 02 000a 00 0001 'b'", "b< {ok5}",
             "+14900", "a<", "b<", "+200", "a<", "a.", "b< e0 01 8d", "b.");
}

static void test_keep_alive_counts_from_any_whole_packet(void **state)
{ /* [MQTT5-3.1.2-22] */
    (void)state;
    CONVERSE(NULL, "a> 10 0e 0004 'MQTT' 05 02 000a 00 0001 'a'", "a< {ok5}", "+10000", "a> 30 05 0001 't' 00 'x'", "+14000", "a<",
             "a> c0", /* half a packet is none */
             "+1200", "a< e0 01 8d", "a.");
}

static void test_keep_alive_is_shortened_only_where_the_client_can_be_told(void **state)
{ /* [MQTT5-3.2.2-22] */
    (void)state;
    CONVERSE("max_keepalive 10",
             "a> {5}", "a< 20 11 00 00 0e " LIMITS " 13 000a", /* zero is longer than any */
             "b> 10 0e 0004 'MQTT' 05 02 000a 00 0001 'b'", "b< {ok5}",
             "c> 10 0d 0004 'MQTT' 04 02 0014 0001 'c'", "c< {ok311}", "+15200", "a< e0 01 8d", "b< e0 01 8d", "c<", "+15200", "c.");
}

/* ---- limits ---- */

static void test_connack_tells_the_brokers_limits_where_there_are_any(void **state)
{ /* [MQTT5-3.2.2-9] */
    (void)state;
    CONVERSE("max_inflight_messages 0", "a> {5}", "a< 20 0b 00 00 08 27 001e8480 22 000a");
    CONVERSE("max_inflight_messages 65535", "a> {5}", "a< 20 0b 00 00 08 27 001e8480 22 000a");
    CONVERSE("max_inflight_messages 7\nmax_packet_size 1000\nmax_topic_alias 3\nmax_qos 1\nretain_available false",
             "a> {5}", "a< 20 12 00 00 0f 21 0007 24 01 25 00 27 000003e8 22 0003");
    CONVERSE("persistent_client_expiration 1h", "a> " KEPT("ffffffff"), "a< 20 13 00 00 10 11 00000e10 " LIMITS);
}

static void test_connect_packet_beyond_our_maximum_is_not_taken(void **state)
{ /* [MQTT5-3.2.2-15] [MQTT5-3.14.0-1] */
    (void)state;
    CONVERSE("max_packet_size 20", "a> 10 ff ff ff 7f", "a<", "a.",
             "b> {5}", "b< 20 0e 00 00 0b 21 03e8 27 00000014 22 000a", "b> 30 13", "b< e0 01 95", "b.");
}

static void test_connect_with_no_room_for_connack_is_closed(void **state)
{ /* [MQTT5-3.1.2-24]: CONNACK has 16 bytes; not sent, and then nothing may be */
    (void)state;
    CONVERSE(NULL, "a> 10 13 0004 'MQTT' 05 02 0000 05 27 00000010 0001 'a'", "a< {ok5}",
             "b> 10 13 0004 'MQTT' 05 02 0000 05 27 0000000f 0001 'b' c0 00", "b<", "b.",
             "c> 10 13 0004 'MQTT' 05 02 0000 05 27 00000001 0001 'c'", "c<", "c.");
}

static void test_suback_the_client_has_no_room_for_ends_the_connection(void **state)
{ /* [MQTT5-3.1.2-24] */
    (void)state;
    CONVERSE(NULL, "a> 10 13 0004 'MQTT' 05 02 0000 05 27 00000010 0001 'a'", "a< {ok5}",
             "a> 82 33 0001 00 0001 't' 00 0001 't' 00 0001 't' 00 0001 't' 00 0001 't' 00 0001 't' 00"
             " 0001 't' 00 0001 't' 00 0001 't' 00 0001 't' 00 0001 't' 00 0001 't' 00", "a< e0 01 95", "a.");
}

/* ---- while the session is on its way ---- */

static void test_connect_what_follows_at_once_waits_for_connack(void **state)
{ /* [MQTT5-3.2.0-1] [MQTT5-3.2.0-2] [MQTT311-3.2.0-1] */
    (void)state;
    CONVERSE_WITH(&two, "a@0", "b@1", "a> " KEPT("00000064"), "a< {ok5}", "=hold",
                  "b> 10 13 0004 'MQTT' 05 00 0000 05 11 00000064 0001 'a' c0 00 82 07 0001 00 0001 't' 01", "b> 32 07 0001 't' 0009 00 'x'",
                  "=1", "b<", "=0", "b<", "=run", "b< " BACK5 " d0 00 90 04 0001 00 01 40 02 0009 32 07 0001 't' 0001 00 'x'");
}

static void test_connect_second_one_while_claiming_is_found_afterwards(void **state)
{ /* [MQTT5-3.1.0-2] */
    (void)state;
    CONVERSE_WITH(&two, "a@0", "b@1", "a> " KEPT("00000064"), "a< {ok5}", "=hold",
                  "b> 10 13 0004 'MQTT' 05 00 0000 05 11 00000064 0001 'a' {5}", "=1", "b<", "=run", "b< " BACK5 " e0 01 82", "b.");
}

static void test_connect_too_much_while_claiming_is_left_unread(void **state)
{
    enum { PACKETS = 8000, PACKET_DIGITS = 14 }; /* 56,000 bytes; five of them are too much */
    static char flood[PACKETS * PACKET_DIGITS + 10];
    (void)state;
    int at = snprintf(flood, sizeof flood, "b> ");
    for (int i = 0; i < PACKETS; i++)
        at += snprintf(flood + at, sizeof flood - (size_t)at, "30050001740078");
    CONVERSE_WITH(&two, "a@0", "b@1", "a> " KEPT("00000064"), "a< {ok5}", "=hold",
                  "b> 10 13 0004 'MQTT' 05 00 0000 05 11 00000064 0001 'a'", "=1", "b-", flood, "b-", flood, "b-", flood, "b-", flood, "b-",
                  flood, "b|", "=run", "b-", "b< " BACK5, "b> c0 00", "b< d0 00");
}

/* clang-format on */

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connect_bridge_bit_is_accepted_in_every_version),
        cmocka_unit_test(test_connect_name_and_version_that_do_not_belong_together_are_refused),
        cmocka_unit_test(test_connect_cut_off_anywhere_is_malformed),
        cmocka_unit_test(test_connect_malformed_is_told_0x81_or_nothing),
        cmocka_unit_test(test_connect_property_that_breaks_a_rule_is_told_0x82),
        cmocka_unit_test(test_connect_with_every_field_is_accepted),
        cmocka_unit_test(test_connect_response_information_is_not_offered),
        cmocka_unit_test(test_connect_byte_by_byte_is_the_same),
        cmocka_unit_test(test_connect_first_packet_of_any_other_type_closes),
        cmocka_unit_test(test_connect_second_one_ends_the_connection_and_sends_the_will),
        cmocka_unit_test(test_connect_too_late_closes_without_a_word),
        cmocka_unit_test(test_connect_refusals_have_the_code_of_their_version),
        cmocka_unit_test(test_connect_where_nobody_is_allowed_is_refused),
        cmocka_unit_test(test_connect_refused_makes_no_session_and_sends_no_will),
        cmocka_unit_test(test_auth_is_never_wanted),
        cmocka_unit_test(test_connect_identifiers_of_any_length_and_letters_are_accepted),
        cmocka_unit_test(test_connect_without_identifier_each_gets_its_own),
        cmocka_unit_test(test_connect_expiry_absent_or_zero_ends_with_the_connection),
        cmocka_unit_test(test_connect_expiry_survives_a_clean_start),
        cmocka_unit_test(test_connect_session_is_one_for_all_versions),
        cmocka_unit_test(test_disconnect_changes_the_expiry),
        cmocka_unit_test(test_disconnect_cannot_give_life_to_a_session_that_has_none),
        cmocka_unit_test(test_disconnect_that_is_not_valid_is_told),
        cmocka_unit_test(test_keep_alive_of_zero_never_ends),
        cmocka_unit_test(test_keep_alive_is_one_and_a_half_times_in_every_version),
        cmocka_unit_test(test_keep_alive_counts_from_any_whole_packet),
        cmocka_unit_test(test_keep_alive_is_shortened_only_where_the_client_can_be_told),
        cmocka_unit_test(test_connack_tells_the_brokers_limits_where_there_are_any),
        cmocka_unit_test(test_connect_packet_beyond_our_maximum_is_not_taken),
        cmocka_unit_test(test_connect_with_no_room_for_connack_is_closed),
        cmocka_unit_test(test_suback_the_client_has_no_room_for_ends_the_connection),
        cmocka_unit_test(test_connect_what_follows_at_once_waits_for_connack),
        cmocka_unit_test(test_connect_second_one_while_claiming_is_found_afterwards),
        cmocka_unit_test(test_connect_too_much_while_claiming_is_left_unread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
