/* SPDX-License-Identifier: MIT */
/*
 * The protocol, byte by byte: one conversation a rule (support/conversation.h explains the lines).
 * Each names the statements that it proves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/broker/support/conversation.h"

#define TALK(name, options, ...)                                                                   \
    static void name(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        CONVERSE(options, __VA_ARGS__);                                                            \
    }

/* clang-format off */

/* ---- CONNECT ---- */

/* [MQTT5-3.1.0-1] [MQTT311-3.1.0-1] [MQTT311-4.8.0-1] */
TALK(test_connect_first_packet_is_another_closes, NULL, "a> c0 00", "a<", "a.")
/* [MQTT5-3.1.0-2] [MQTT311-3.1.0-2] [MQTT5-4.13.1-1] */
TALK(test_connect_twice_is_a_protocol_error, NULL,
     "a> {5}", "a< {ok5}", "a> {5}", "a< e0 01 82", "a.",
     "b> {311}", "b< {ok311}", "b> {311}", "b<", "b.")
/* [MQTT5-3.2.0-1] [MQTT5-3.2.0-2] [MQTT311-3.2.0-1][MQTT5-3.1.4-5] [MQTT311-3.1.4-4] [MQTT5-3.2.2-22] [MQTT5-3.1.2-28] [MQTT5-4.12.0-6] [MQTT5-3.1.3-5] [MQTT311-3.1.3-5] */
TALK(test_connect_connack_is_first_and_once, NULL,
     "a> {5} c0 00", "a< {ok5} d0 00", "b> {311} c0 00", "b< {ok311} d0 00")
/* [MQTT311-3.1.2-2] [MQTT311-3.2.2-4] [MQTT311-3.2.2-5] */
TALK(test_connect_unknown_version_gets_return_code_1, NULL,
     "a> 10 0d 0004 'MQTT' 06 02 0000 0001 'a'", "a< 20 02 00 01", "a.")
/* [MQTT5-3.1.2-1] [MQTT311-3.1.2-1] */
TALK(test_connect_other_protocol_name_is_refused, NULL,
     "a> 10 0d 0004 'HTTP' 04 02 0000 0001 'a'", "a< 20 02 00 01", "a.")
/* [MQTT5-3.1.2-3] [MQTT311-3.1.2-3] [MQTT311-3.1.4-1][MQTT5-3.1.4-1] [MQTT5-3.14.0-1] [MQTT5-3.2.2-7] [MQTT5-3.2.2-6] [MQTT311-3.2.2-6] [MQTT5-4.13.2-1] */
TALK(test_connect_reserved_flag_is_malformed, NULL,
     "a> 10 0e 0004 'MQTT' 05 03 0000 00 0001 'a'", "a< 20 03 00 81 00", "a.",
     "b> 10 0d 0004 'MQTT' 04 03 0000 0001 'b'", "b<", "b.")
TALK(test_connect_version_31_is_served, NULL,
     "a> 10 0f 0006 'MQIsdp' 03 02 0000 0001 'a'", "a< 20 02 00 00",
     "a> 82 06 0001 0001 't' 01", "a< 90 03 0001 01", "a> 32 06 0001 't' 0007 'x'",
     "a< 40 02 0007 32 06 0001 't' 0001 'x'")
TALK(test_connect_version_not_accepted_is_refused, "accept_protocol_versions 3,4",
     "a> {5}", "a< 20 03 00 84 00", "a.", "b> {311}", "b< {ok311}")
/* [MQTT311-3.1.3-8] [MQTT311-3.1.3-9] */
TALK(test_connect_v311_persistent_without_identifier_is_refused, NULL,
     "a> 10 0c 0004 'MQTT' 04 00 0000 0000", "a< 20 02 00 02", "a.")
/* [MQTT311-3.1.3-6] [MQTT311-3.1.3-7][MQTT5-3.1.3-6] */
TALK(test_connect_v311_clean_without_identifier_is_served, NULL,
     "a> 10 0c 0004 'MQTT' 04 02 0000 0000", "a< 20 02 00 00")
/* [MQTT5-3.1.3-8] */
TALK(test_connect_without_identifier_can_be_forbidden, "allow_zero_length_clientid false",
     "a> 10 0d 0004 'MQTT' 05 02 0000 00 0000", "a< 20 03 00 85 00", "a.")
/* [MQTT5-4.12.0-1][MQTT5-4.12.0-4] */
TALK(test_connect_authentication_method_is_refused, NULL,
     "a> 10 13 0004 'MQTT' 05 02 0000 05 15 0002 'X1' 0001 'a'", "a< 20 03 00 8c 00", "a.")
/* [MQTT5-4.12.0-7] */
TALK(test_connect_auth_without_method_is_a_protocol_error, NULL,
     "a> {5}", "a< {ok5}", "a> f0 00", "a< e0 01 82", "a.")
/* [MQTT5-2.1.3-1] [MQTT311-2.2.2-2] */
TALK(test_packet_reserved_flags_are_malformed, NULL,
     "a> {5}", "a< {ok5}", "a> c1 00", "a< e0 01 81", "a.")
TALK(test_packet_that_only_a_server_sends_is_a_protocol_error, NULL,
     "a> {5}", "a< {ok5}", "a> d0 00", "a< e0 01 82", "a.")
/* [MQTT5-3.2.2-1] [MQTT5-3.1.2-4] [MQTT5-3.1.2-5] [MQTT5-3.1.2-6] [MQTT5-3.2.2-2] [MQTT5-3.2.2-3]
 */
/* [MQTT5-3.1.4-4] [MQTT5-4.1.0-1] */
TALK(test_session_present_says_what_is_there, NULL,
     "a> 10 13 0004 'MQTT' 05 00 0000 05 11 0000000a 0001 'a'", "a< {ok5}", "a!",
     "a> 10 13 0004 'MQTT' 05 00 0000 05 11 0000000a 0001 'a'", "a< 20 0e 01 00 0b 21 03e8 27 001e8480 22 000a", "a!",
     "a> 10 13 0004 'MQTT' 05 02 0000 05 11 0000000a 0001 'a'", "a< {ok5}")
/* [MQTT311-3.1.2-4] [MQTT311-3.1.2-5] [MQTT311-3.1.2-6] [MQTT311-3.2.2-1] [MQTT311-3.2.2-2]
 * [MQTT311-3.2.2-3] */
/* [MQTT311-3.1.3-2] [MQTT311-3.1.4-3] [MQTT311-4.1.0-1] [MQTT311-4.1.0-2] */
TALK(test_session_v311_is_kept_without_clean_session, NULL,
     "a> 10 0d 0004 'MQTT' 04 00 0000 0001 'a'", "a< 20 02 00 00", "a> 82 06 0001 0001 't' 01", "a< 90 03 0001 01", "a!",
     "b> {311} 32 06 0001 't' 0009 'x'", "b< {ok311} 40 02 0009",
     "a> 10 0d 0004 'MQTT' 04 00 0000 0001 'a'", "a< 20 02 01 00 32 06 0001 't' 0001 'x'", "a!",
     "a> {311}", "a< {ok311}", "a!",
     "a> 10 0d 0004 'MQTT' 04 00 0000 0001 'a'", "a< 20 02 00 00")
/* [MQTT5-3.1.2-23] [MQTT5-4.1.0-2] */
TALK(test_session_ends_after_its_expiry, NULL,
     "a> 10 13 0004 'MQTT' 05 00 0000 05 11 0000000a 0001 'a'", "a< {ok5}", "a!", "+9000",
     "a> 10 13 0004 'MQTT' 05 00 0000 05 11 0000000a 0001 'a'", "a< 20 0e 01 00 0b 21 03e8 27 001e8480 22 000a", "a!", "+10200",
     "a> 10 13 0004 'MQTT' 05 00 0000 05 11 0000000a 0001 'a'", "a< {ok5}")
TALK(test_session_that_never_expires_is_there_after_a_year, NULL,
     "a> 10 13 0004 'MQTT' 05 00 0000 05 11 ffffffff 0001 'a'", "a< {ok5}", "a!", "+31536000000",
     "a> 10 13 0004 'MQTT' 05 00 0000 05 11 ffffffff 0001 'a'", "a< 20 0e 01 00 0b 21 03e8 27 001e8480 22 000a")
TALK(test_session_expiry_is_changed_by_disconnect, NULL,
     "a> 10 13 0004 'MQTT' 05 00 0000 05 11 00000064 0001 'a'", "a< {ok5}", "a> e0 07 00 05 11 00000001", "a<", "a.", "+1200",
     "a> 10 13 0004 'MQTT' 05 00 0000 05 11 0000000a 0001 'a'", "a< {ok5}")
TALK(test_session_expiry_of_zero_cannot_be_raised, NULL,
     "a> {5}", "a< {ok5}", "a> e0 07 00 05 11 00000001", "a< e0 01 82", "a.")
TALK(test_session_expiry_is_limited_and_told, "persistent_client_expiration 1m",
     "a> 10 13 0004 'MQTT' 05 02 0000 05 11 ffffffff 0001 'a'", "a< 20 13 00 00 10 11 00278d00 21 03e8 27 001e8480 22 000a")
/* [MQTT5-3.1.4-3] [MQTT311-3.1.4-2] */
TALK(test_takeover_ends_the_first_connection, NULL,
     "a> {5}", "a< {ok5}",
     "b> 10 0e 0004 'MQTT' 05 02 0000 00 0001 'a'", "b< {ok5}", "a< e0 01 8e", "a.")
/* [MQTT5-3.1.2-22] [MQTT311-3.1.2-24] */
TALK(test_keep_alive_ends_after_one_and_a_half, NULL,
     "a> 10 0e 0004 'MQTT' 05 02 0002 00 0001 'a'", "a< {ok5}", "+2900", "a<", "+300", "a< e0 01 8d", "a.")
/* [MQTT5-3.12.4-1] [MQTT311-3.12.4-1] */
TALK(test_keep_alive_is_kept_by_pings, NULL,
     "a> 10 0e 0004 'MQTT' 05 02 0002 00 0001 'a'", "a< {ok5}", "+2000", "a> c0 00", "a< d0 00", "+2000", "a<", "+1200", "a< e0 01 8d", "a.")
/* [MQTT5-3.1.2-21] [MQTT5-3.2.2-21] */
TALK(test_keep_alive_longest_is_told_and_enforced, "max_keepalive 10",
     "a> 10 0e 0004 'MQTT' 05 02 0064 00 0001 'a'", "a< 20 11 00 00 0e 21 03e8 27 001e8480 22 000a 13 000a", "+15200", "a< e0 01 8d", "a.")
TALK(test_connect_must_come_in_time, NULL, "a> 10", "a<", "+10200", "a<", "a.")

/* ---- wills ---- */

#define WATCH "w> {311} 82 06 0001 0001 't' 02", "w< {ok311} 90 03 0001 02"
#define WILL5 "10 15 0004 'MQTT' 05 06 0000 00 0001 '@' 00 0001 't' 0001 'x'"

/* [MQTT5-3.1.2-7] [MQTT5-3.1.2-8] [MQTT311-3.1.2-8] */
TALK(test_will_is_sent_when_the_network_goes, NULL, WATCH, "a> " WILL5, "a< {ok5}", "a!", "w< 30 04 0001 't' 'x'")
/* [MQTT5-3.1.2-10] [MQTT5-3.14.4-3] [MQTT311-3.1.2-10] [MQTT311-3.14.4-3] */
TALK(test_will_is_forgotten_after_disconnect, NULL, WATCH, "a> " WILL5, "a< {ok5}", "a> e0 00", "a.", "w<")
TALK(test_will_is_sent_after_disconnect_with_04, NULL, WATCH, "a> " WILL5, "a< {ok5}", "a> e0 01 04", "a.", "w< 30 04 0001 't' 'x'")
TALK(test_will_is_sent_after_a_protocol_error, NULL, WATCH, "a> " WILL5, "a< {ok5}", "a> d0 00", "a< e0 01 82", "a.", "w< 30 04 0001 't' 'x'")
/* [MQTT5-3.1.3-9] */
TALK(test_will_delay_is_waited_for, NULL, WATCH,
     "a> 10 1f 0004 'MQTT' 05 06 0000 05 11 0000000a 0001 'a' 05 18 00000003 0001 't' 0001 'x'", "a< {ok5}", "a!", "w<", "+2900", "w<", "+300", "w< 30 04 0001 't' 'x'")
TALK(test_will_delay_ends_with_the_session, NULL, WATCH,
     "a> 10 1f 0004 'MQTT' 05 06 0000 05 11 00000001 0001 'a' 05 18 00000003 0001 't' 0001 'x'", "a< {ok5}", "a!", "w<", "+1200", "w< 30 04 0001 't' 'x'")
TALK(test_will_delayed_is_not_sent_when_the_client_is_back, NULL, WATCH,
     "a> 10 1f 0004 'MQTT' 05 06 0000 05 11 0000000a 0001 'a' 05 18 00000003 0001 't' 0001 'x'", "a< {ok5}", "a!",
     "a> 10 13 0004 'MQTT' 05 00 0000 05 11 0000000a 0001 'a'", "a< 20 0e 01 00 0b 21 03e8 27 001e8480 22 000a", "+5000", "w<")
TALK(test_will_delayed_is_sent_when_the_client_starts_clean, NULL, WATCH,
     "a> 10 1f 0004 'MQTT' 05 06 0000 05 11 0000000a 0001 'a' 05 18 00000003 0001 't' 0001 'x'", "a< {ok5}",
     "b> 10 0e 0004 'MQTT' 05 02 0000 00 0001 'a'", "b< {ok5}", "a< e0 01 8e", "a.", "w< 30 04 0001 't' 'x'")
/* [MQTT5-3.1.2-14] [MQTT5-3.1.2-15] [MQTT311-3.1.2-16] [MQTT311-3.1.2-17][MQTT311-3.1.2-9] [MQTT311-3.1.3-1] */
TALK(test_will_retain_flag_is_obeyed, NULL,
     "a> 10 13 0004 'MQTT' 04 26 0000 0001 'a' 0001 't' 0001 'x'", "a< {ok311}", "a!",
     "w> {311} 82 06 0001 0001 't' 00", "w< {ok311} 90 03 0001 00 31 04 0001 't' 'x'",
     "b> 10 13 0004 'MQTT' 04 06 0000 0001 'b' 0001 'u' 0001 'x'", "b< {ok311}", "b!",
     "w> 82 06 0002 0001 'u' 00", "w< 90 03 0002 00")
TALK(test_will_for_the_brokers_topics_is_refused, NULL,
     "a> 10 17 0004 'MQTT' 04 06 0000 0001 'a' 0005 '$SYS/' 0001 'x'", "a< 20 02 00 05", "a.")
/* [MQTT5-3.2.2-12][MQTT5-3.2.2-9] */
TALK(test_will_above_max_qos_is_refused, "max_qos 1",
     "a> 10 15 0004 'MQTT' 05 16 0000 00 0001 'a' 00 0001 't' 0001 'x'", "a< 20 03 00 9b 00", "a.")

/* ---- PUBLISH ---- */

/* [MQTT5-4.3.1-1] [MQTT311-4.3.1-1] [MQTT5-3.3.4-1] */
TALK(test_publish_qos0_is_delivered_once, NULL, WATCH, "a> {311} 30 04 0001 't' 'x'", "a< {ok311}", "w< 30 04 0001 't' 'x'")
/* [MQTT5-4.3.2-4] [MQTT5-3.3.4-1] [MQTT311-4.3.2-2] [MQTT311-3.3.4-1][MQTT5-4.3.2-1] [MQTT5-4.3.2-2] [MQTT311-4.3.2-1] [MQTT311-2.3.1-6] [MQTT5-3.3.2-3] [MQTT311-3.3.2-3] [MQTT5-4.5.0-1] */
TALK(test_publish_qos1_is_acknowledged, NULL, WATCH, "a> {311} 32 06 0001 't' 0007 'x'", "a< {ok311} 40 02 0007", "w< 32 06 0001 't' 0001 'x'", "w> 40 02 0001", "w<")
/* [MQTT5-4.3.3-8] [MQTT5-4.3.3-11] [MQTT311-4.3.3-2][MQTT5-4.3.3-1] [MQTT5-4.3.3-2] [MQTT311-4.3.3-1] [MQTT5-4.3.3-5] */
TALK(test_publish_qos2_goes_through_both_halves, NULL, WATCH,
     "a> {311} 34 06 0001 't' 0007 'x'", "a< {ok311} 50 02 0007", "w< 34 06 0001 't' 0001 'x'",
     "a> 62 02 0007", "a< 70 02 0007", "w> 50 02 0001", "w< 62 02 0001", "w> 70 02 0001", "w<")
/* [MQTT5-4.3.3-10] [MQTT5-4.3.3-12] */
TALK(test_publish_qos2_sent_again_is_delivered_once, NULL, WATCH,
     "a> {311} 34 06 0001 't' 0007 'x'", "a< {ok311} 50 02 0007", "a> 3c 06 0001 't' 0007 'x'", "a< 50 02 0007",
     "w< 34 06 0001 't' 0001 'x'", "a> 62 02 0007", "a< 70 02 0007", "a> 34 06 0001 't' 0007 'y'", "a< 50 02 0007", "w< 34 06 0001 't' 0002 'y'")
TALK(test_publish_nobody_hears_is_told_at_v5, NULL, "a> {5} 32 07 0001 't' 0007 00 'x'", "a< {ok5} 40 03 0007 10")
/* [MQTT5-3.3.1-4] [MQTT311-3.3.1-4] */
TALK(test_publish_qos3_is_malformed, NULL, "a> {5}", "a< {ok5}", "a> 36 07 0001 't' 0001 00 'x'", "a< e0 01 81", "a.")
/* [MQTT5-3.3.1-2] [MQTT311-3.3.1-2] */
TALK(test_publish_dup_at_qos0_is_malformed, NULL, "a> {5}", "a< {ok5}", "a> 38 05 0001 't' 00 'x'", "a< e0 01 81", "a.")
/* [MQTT5-3.3.2-2] [MQTT311-3.3.2-2] */
TALK(test_publish_wildcard_in_topic_closes, NULL, "a> {5}", "a< {ok5}", "a> 30 05 0001 '+' 00 'x'", "a< e0 01 90", "a.")
/* [MQTT5-1.5.4-1] [MQTT5-1.5.4-2] [MQTT311-1.5.3-1] [MQTT311-1.5.3-2] [MQTT311-4.7.3-2] */
TALK(test_publish_topic_that_is_not_utf8_closes, NULL,
     "a> {5}", "a< {ok5}", "a> 30 07 0003 eda080 00 'x'", "a< e0 01 81", "a.",
     "b> {5}", "b< {ok5}", "b> 30 05 0001 00 00 'x'", "b< e0 01 81", "b.")
/* [MQTT5-2.2.1-3] */
TALK(test_publish_identifier_zero_is_a_protocol_error, NULL, "a> {5}", "a< {ok5}", "a> 32 07 0001 't' 0000 00 'x'", "a< e0 01 82", "a.")
/* [MQTT5-3.2.2-11][MQTT5-3.2.2-9] */
TALK(test_publish_above_max_qos_closes, "max_qos 1", "a> {5}", "a< 20 10 00 00 0d 21 03e8 24 01 27 001e8480 22 000a", "a> 34 07 0001 't' 0001 00 'x'", "a< e0 01 9b", "a.")
/* [MQTT5-3.2.2-14] */
TALK(test_publish_retained_where_it_is_not_available_closes, "retain_available false", "a> {5}", "a< 20 10 00 00 0d 21 03e8 25 00 27 001e8480 22 000a", "a> 31 05 0001 't' 00 'x'", "a< e0 01 9a", "a.")
/* [MQTT5-3.3.4-7] */
TALK(test_publish_beyond_receive_maximum_closes, "max_inflight_messages 1",
     "a> {5}", "a< 20 0e 00 00 0b 21 0001 27 001e8480 22 000a", "a> 34 07 0001 't' 0001 00 'x' 34 07 0001 't' 0002 00 'x'", "a< 50 03 0001 10 e0 01 93", "a.")
/* [MQTT5-3.3.4-9] [MQTT5-4.9.0-1] [MQTT5-4.9.0-2][MQTT5-3.3.4-10] [MQTT5-4.9.0-3] */
TALK(test_deliver_no_more_than_the_clients_receive_maximum, NULL,
     "w> 10 11 0004 'MQTT' 05 02 0000 03 21 0001 0001 'w' 82 07 0001 00 0001 't' 01", "w< {ok5} 90 04 0001 00 01",
     "a> {311} 32 06 0001 't' 0001 'x' 32 06 0001 't' 0002 'y'", "a< {ok311} 40 02 0001 40 02 0002", "w< 32 07 0001 't' 0001 00 'x'",
     "w> c0 00", "w< d0 00", "w> 40 02 0001", "w< 32 07 0001 't' 0002 00 'y'")
/* [MQTT5-3.2.2-15] */
TALK(test_publish_larger_than_allowed_closes, "max_packet_size 20",
     "a> {5}", "a< 20 0e 00 00 0b 21 03e8 27 00000014 22 000a", "a> 30 13 0001 't' 00 '123456789012345'", "a< e0 01 95", "a.")
/* [MQTT5-3.1.2-24] [MQTT5-3.1.2-25] */
TALK(test_deliver_nothing_larger_than_the_client_takes, NULL,
     "w> 10 13 0004 'MQTT' 05 02 0000 05 27 00000014 0001 'w' 82 07 0001 00 0001 't' 00", "w< {ok5} 90 04 0001 00 00",
     "a> {311} 30 15 0001 't' '123456789012345678' 30 04 0001 't' 'x'", "w< 30 05 0001 't' 00 'x'")
/* [MQTT311-3.3.5-2] */
TALK(test_publish_to_the_brokers_topics_is_refused, NULL,
     "a> {5} 32 0d 0007 '$SYS/up' 0001 00 'x'", "a< {ok5} 40 03 0001 87",
     "b> {311} 32 0c 0007 '$SYS/up' 0001 'x'", "b< {ok311} 40 02 0001")
TALK(test_publish_payload_format_is_checked_when_asked, "check_payload_format true",
     "a> {5} 32 09 0001 't' 0001 02 0101 ff", "a< {ok5} 40 03 0001 99", "a> 32 09 0001 't' 0002 02 0101 'x'", "a< 40 03 0002 10")
/* [MQTT5-3.3.2-4] [MQTT5-3.3.2-15] [MQTT5-3.3.2-16] [MQTT5-3.3.2-17] [MQTT5-3.3.2-18]
 * [MQTT5-3.3.2-20] */
TALK(test_publish_properties_travel_on_in_order, NULL,
     "w> {5} 82 07 0001 00 0001 't' 00", "w< {ok5} 90 04 0001 00 00",
     "a> {5} 30 22 0001 't' 1d 26 0001 'k' 0001 'v' 01 01 08 0001 'r' 26 0001 'k' 0001 'w' 09 0002 beef 03 0001 'c' 'x'",
     "w< 30 22 0001 't' 1d 26 0001 'k' 0001 'v' 01 01 08 0001 'r' 26 0001 'k' 0001 'w' 09 0002 beef 03 0001 'c' 'x'")
/* [MQTT5-3.3.2-5] [MQTT5-3.3.2-6] */
TALK(test_publish_expiry_counts_while_queued, NULL,
     "w> 10 13 0004 'MQTT' 05 00 0000 05 11 00000064 0001 'w' 82 07 0001 00 0001 't' 01", "w< {ok5} 90 04 0001 00 01", "w!",
     "a> {5} 32 0c 0001 't' 0001 05 02 0000000a 'x' 32 0c 0001 't' 0002 05 02 00000002 'y'", "a< {ok5} 40 02 0001 40 02 0002", "+4000",
     "w> 10 13 0004 'MQTT' 05 00 0000 05 11 00000064 0001 'w'", "w< 20 0e 01 00 0b 21 03e8 27 001e8480 22 000a 32 0c 0001 't' 0001 05 02 00000006 'x'")
/* [MQTT5-3.3.2-7] [MQTT5-3.3.2-8] [MQTT5-3.3.2-9] [MQTT5-3.3.2-12] */
TALK(test_publish_alias_stands_for_its_topic, NULL, WATCH,
     "a> {5} 30 08 0001 't' 03 23 0001 'x' 30 07 0000 03 23 0001 'y'", "a< {ok5}", "w< 30 04 0001 't' 'x' 30 04 0001 't' 'y'")
/* [MQTT5-3.2.2-17] */
TALK(test_publish_alias_beyond_the_maximum_closes, NULL, "a> {5}", "a< {ok5}", "a> 30 08 0001 't' 03 23 000b 'x'", "a< e0 01 94", "a.")
TALK(test_publish_alias_that_nobody_set_closes, NULL, "a> {5}", "a< {ok5}", "a> 30 07 0000 03 23 0001 'x'", "a< e0 01 82", "a.")
/* [MQTT5-3.1.2-26] [MQTT5-3.1.2-27] [MQTT5-3.3.2-11] */
TALK(test_deliver_with_aliases_only_as_many_as_the_client_allows, NULL,
     "w> 10 11 0004 'MQTT' 05 02 0000 03 22 0001 0001 'w' 82 07 0001 00 0001 '#' 00", "w< {ok5} 90 04 0001 00 00",
     "a> {311} 30 04 0001 't' 'x' 30 04 0001 't' 'y' 30 04 0001 'u' 'z'",
     "w< 30 08 0001 't' 03 23 0001 'x' 30 07 0000 03 23 0001 'y' 30 05 0001 'u' 00 'z'")
/* [MQTT5-3.3.1-3] [MQTT311-3.3.1-3] */
TALK(test_deliver_dup_is_not_taken_from_the_publisher, NULL, WATCH, "a> {311} 3a 06 0001 't' 0007 'x'", "w< 32 06 0001 't' 0001 'x'")

/* ---- redelivery ---- */

/* [MQTT5-3.3.1-1] [MQTT5-4.4.0-1] [MQTT5-4.4.0-2] [MQTT311-3.3.1-1] [MQTT311-4.4.0-1]
 * [MQTT5-4.6.0-1] */
/* [MQTT5-4.3.2-3] [MQTT5-4.3.3-3] */
TALK(test_redelivery_is_in_the_old_order_with_dup, NULL,
     "w> 10 0d 0004 'MQTT' 04 00 0000 0001 'w' 82 06 0001 0001 't' 02", "w< {ok311} 90 03 0001 02",
     "a> {311} 34 06 0001 't' 0001 'x' 32 06 0001 't' 0002 'y' 34 06 0001 't' 0003 'z'",
     "w< 34 06 0001 't' 0001 'x' 32 06 0001 't' 0002 'y' 34 06 0001 't' 0003 'z'", "w> 50 02 0001", "w< 62 02 0001", "w!",
     "w> 10 0d 0004 'MQTT' 04 00 0000 0001 'w'", "w< 20 02 01 00 62 02 0001 3a 06 0001 't' 0002 'y' 3c 06 0001 't' 0003 'z'",
     "w> 70 02 0001 40 02 0002 50 02 0003", "w< 62 02 0003", "w> 70 02 0003", "w<")
/* [MQTT5-4.3.3-4][MQTT5-4.3.3-9] */
TALK(test_redelivery_ends_with_an_error_pubrec, NULL,
     "w> {5} 82 07 0001 00 0001 't' 02", "w< {ok5} 90 04 0001 00 02", "a> {311} 34 06 0001 't' 0001 'x'", "w< 34 07 0001 't' 0001 00 'x'",
     "w> 50 03 0001 87", "w<", "w> 70 02 0001", "w<")
TALK(test_pubrec_that_nobody_waits_for_is_told, NULL, "a> {5} 50 02 0009", "a< {ok5} 62 03 0009 92")
/* [MQTT5-3.6.1-1] [MQTT311-3.6.1-1] */
TALK(test_pubrel_with_other_flags_is_malformed, NULL, "a> {5}", "a< {ok5}", "a> 60 02 0001", "a< e0 01 81", "a.")
TALK(test_pubrel_that_nobody_waits_for_is_told, NULL, "a> {5} 62 02 0009", "a< {ok5} 70 03 0009 92", "b> {311} 62 02 0009", "b< {ok311} 70 02 0009")

/* ---- SUBSCRIBE ---- */

/* [MQTT5-3.8.4-1] [MQTT5-3.8.4-2] [MQTT5-3.8.4-6] [MQTT5-3.9.3-1] [MQTT311-3.8.4-1]
 * [MQTT311-3.8.4-2] [MQTT311-3.8.4-5] [MQTT311-3.9.3-1] */
/* [MQTT5-2.2.1-6] [MQTT311-2.3.1-7] [MQTT5-3.8.4-5] [MQTT5-3.8.4-7] [MQTT5-3.9.3-2] [MQTT311-3.8.4-4] [MQTT311-3.9.3-2] [MQTT311-3.8.3-2] */
TALK(test_subscribe_has_one_code_a_filter, NULL,
     "a> {5} 82 12 0007 00 0001 't' 00 0003 'a/#' 02 0002 '#a' 01", "a< {ok5} 90 06 0007 00 00 02 8f",
     "b> {311} 82 0b 0007 0001 't' 01 0002 '#a' 01", "b< {ok311} 90 04 0007 01 80")
/* [MQTT5-3.8.1-1] [MQTT311-3.8.1-1] */
TALK(test_subscribe_with_other_flags_is_malformed, NULL, "a> {5}", "a< {ok5}", "a> 80 07 0001 00 0001 't' 00", "a< e0 01 81", "a.")
/* [MQTT5-3.8.3-2] [MQTT311-3.8.3-3] */
TALK(test_subscribe_without_filter_is_a_protocol_error, NULL, "a> {5}", "a< {ok5}", "a> 82 03 0001 00", "a< e0 01 82", "a.")
/* [MQTT5-3.8.3-5] */
TALK(test_subscribe_reserved_option_bits_are_malformed, NULL, "a> {5}", "a< {ok5}", "a> 82 07 0001 00 0001 't' 40", "a< e0 01 81", "a.")
/* [MQTT5-3.8.3-4] */
TALK(test_subscribe_no_local_on_a_shared_filter_is_a_protocol_error, NULL, "a> {5}", "a< {ok5}", "a> 82 10 0001 00 000a '$share/g/t' 04", "a< e0 01 82", "a.")
/* [MQTT5-3.8.3-3] */
TALK(test_subscribe_no_local_keeps_own_messages_away, NULL,
     "a> {5} 82 07 0001 00 0001 't' 04 30 05 0001 't' 00 'x'", "a< {ok5} 90 04 0001 00 00", "b> {311} 30 04 0001 't' 'y'", "a< 30 05 0001 't' 00 'y'")
/* [MQTT5-3.3.4-2] [MQTT5-3.3.4-3] [MQTT5-3.3.4-4] [MQTT5-3.3.4-5] [MQTT5-3.8.4-8] [MQTT311-3.3.5-1]
 * [MQTT311-4.5.0-1] */
/* [MQTT311-3.8.4-6] */
TALK(test_subscribe_overlapping_gives_one_delivery, NULL,
     "w> {5} 82 09 0001 02 0b05 0001 't' 00 82 09 0002 02 0b06 0001 '#' 01", "w< {ok5} 90 04 0001 00 00 90 04 0002 00 01",
     "a> {311} 32 06 0001 't' 0001 'x'", "w< 32 0b 0001 't' 0001 04 0b06 0b05 'x'")
/* [MQTT5-3.8.4-3] [MQTT5-3.8.4-4] [MQTT311-3.8.4-3] */
TALK(test_subscribe_again_replaces_and_sends_retained_again, NULL,
     "a> {311} 31 04 0001 't' 'x'", "a< {ok311}",
     "w> {311} 82 06 0001 0001 't' 00", "w< {ok311} 90 03 0001 00 31 04 0001 't' 'x'", "w> 82 06 0002 0001 't' 01", "w< 90 03 0002 01 31 04 0001 't' 'x'",
     "a> 32 06 0001 't' 0001 'y'", "w< 32 06 0001 't' 0001 'y'")
/* [MQTT5-3.3.1-9] [MQTT5-3.3.1-10] [MQTT5-3.3.1-11] */
TALK(test_subscribe_retain_handling_is_obeyed, NULL,
     "a> {311} 31 04 0001 't' 'x'", "a< {ok311}",
     "w> {5} 82 07 0001 00 0001 't' 20", "w< {ok5} 90 04 0001 00 00", "w> 82 07 0002 00 0001 't' 10", "w< 90 04 0002 00 00",
     "w> 82 07 0003 00 0001 't' 00", "w< 90 04 0003 00 00 31 05 0001 't' 00 'x'",
     "v> {5} 82 07 0001 00 0001 't' 10", "v< {ok5} 90 04 0001 00 00 31 05 0001 't' 00 'x'")
/* [MQTT5-3.3.1-12] [MQTT5-3.3.1-13] [MQTT5-3.3.1-8] [MQTT311-3.3.1-8] [MQTT311-3.3.1-9] */
TALK(test_subscribe_retain_as_published_keeps_the_flag, NULL,
     "w> {5} 82 07 0001 00 0001 't' 08", "w< {ok5} 90 04 0001 00 00", "v> {5} 82 07 0001 00 0001 't' 00", "v< {ok5} 90 04 0001 00 00",
     "a> {311} 31 04 0001 't' 'x' 30 04 0001 't' 'y'", "w< 31 05 0001 't' 00 'x' 30 05 0001 't' 00 'y'", "v< 30 05 0001 't' 00 'x' 30 05 0001 't' 00 'y'")
/* [MQTT5-4.7.2-1] [MQTT311-4.7.2-1] */
TALK(test_subscribe_wildcards_do_not_reach_dollar_topics, NULL,
     "w> {311} 82 06 0001 0001 '#' 00 82 08 0002 0003 '+/x' 00 82 09 0003 0004 '$a/#' 00", "w< {ok311} 90 03 0001 00 90 03 0002 00 90 03 0003 00",
     "a> {311} 30 07 0004 '$a/x' 'p'", "w< 30 07 0004 '$a/x' 'p'")
/* [MQTT5-3.10.4-1] [MQTT5-3.10.4-4] [MQTT5-3.10.4-5] [MQTT5-3.10.4-6] [MQTT5-3.11.3-1]
 * [MQTT5-3.11.3-2] */
/* [MQTT5-3.10.4-2] */
TALK(test_unsubscribe_stops_and_says_what_was_there, NULL,
     "w> {5} 82 07 0001 00 0001 't' 00 a2 09 0002 00 0001 't' 0001 'u'", "w< {ok5} 90 04 0001 00 00 b0 05 0002 00 00 11", "a> {311} 30 04 0001 't' 'x'", "w<")
/* [MQTT311-3.10.4-1] [MQTT311-3.10.4-4] [MQTT311-3.10.4-5] [MQTT311-3.10.4-6] */
TALK(test_unsubscribe_v311_has_no_payload, NULL, "w> {311} a2 08 0002 0001 't' 0001 'u'", "w< {ok311} b0 02 0002")
/* [MQTT5-3.10.1-1] [MQTT311-3.10.1-1] */
TALK(test_unsubscribe_with_other_flags_is_malformed, NULL, "a> {5}", "a< {ok5}", "a> a0 06 0001 00 0001 't'", "a< e0 01 81", "a.")
/* [MQTT5-3.10.3-2] [MQTT311-3.10.3-2] */
TALK(test_unsubscribe_without_filter_is_a_protocol_error, NULL, "a> {5}", "a< {ok5}", "a> a2 03 0001 00", "a< e0 01 82", "a.")

/* ---- retained ---- */

/* [MQTT5-3.3.1-5] [MQTT5-3.3.1-6] [MQTT5-3.3.1-7] [MQTT311-3.3.1-5] [MQTT311-3.3.1-6]
 * [MQTT311-3.3.1-7] [MQTT311-3.3.1-10] [MQTT311-3.3.1-11] [MQTT311-3.3.1-12] */
TALK(test_retained_is_replaced_and_cleared, NULL,
     "a> {311} 31 04 0001 't' 'x' 31 04 0001 't' 'y'", "a< {ok311}", "w> {311} 82 06 0001 0001 't' 00", "w< {ok311} 90 03 0001 00 31 04 0001 't' 'y'",
     "a> 31 03 0001 't'", "w< 30 03 0001 't'", "v> {311} 82 06 0001 0001 't' 00", "v< {ok311} 90 03 0001 00")
TALK(test_retained_expires, NULL,
     "a> {5} 31 0a 0001 't' 05 02 00000002 'x'", "a< {ok5}", "+2500", "w> {311} 82 06 0001 0001 't' 00", "w< {ok311} 90 03 0001 00")

/* ---- DISCONNECT, bridges ---- */

/* [MQTT5-3.14.1-1] [MQTT311-3.14.1-1] */
TALK(test_disconnect_with_other_flags_is_malformed, NULL, "a> {5}", "a< {ok5}", "a> e1 00", "a< e0 01 81", "a.")
/* [MQTT5-3.14.4-2][MQTT5-3.14.4-1] */
TALK(test_disconnect_ends_the_connection_without_a_word, NULL, "a> {5} e0 00 c0 00", "a< {ok5}", "a.")
TALK(test_bridge_does_not_get_its_own_back_and_keeps_retain, NULL,
     "a> 10 0d 0004 'MQTT' 84 02 0000 0001 'a' 82 06 0001 0001 't' 00 30 04 0001 't' 'x'", "a< {ok311} 90 03 0001 00",
     "b> {311} 31 04 0001 't' 'y'", "a< 31 04 0001 't' 'y'")

/* [MQTT5-3.1.4-6] [MQTT311-3.1.4-5] */
TALK(test_connect_refused_nothing_more_is_processed, NULL, WATCH,
     "a> 10 13 0004 'MQTT' 05 02 0000 05 15 0002 'X1' 0001 'a' 30 05 0001 't' 00 'x'", "a< 20 03 00 8c 00", "a.", "w<",
     "b> 10 0c 0004 'MQTT' 04 00 0000 0000 30 04 0001 't' 'x'", "b< 20 02 00 02", "b.", "w<")
/* [MQTT5-3.1.3-7] [MQTT5-3.2.2-16] */
TALK(test_connect_assigned_identifiers_differ_and_are_told, "auto_id_prefix p-",
     "a> 10 0d 0004 'MQTT' 05 02 0000 00 0000", "a^ 20 33 00 00 30 21 03e8 27 001e8480 12 0022 'p-'",
     "b> 10 0d 0004 'MQTT' 05 02 0000 00 0000", "b^ 20 33 00 00 30 21 03e8 27 001e8480 12 0022 'p-'", "a> c0 00", "a< d0 00", "b> c0 00", "b< d0 00")
/* [MQTT5-3.2.2-13] */
TALK(test_will_retained_where_it_is_not_available_is_refused, "retain_available false",
     "a> 10 15 0004 'MQTT' 05 26 0000 00 0001 'a' 00 0001 't' 0001 'x'", "a< 20 03 00 9a 00", "a.")
/* [MQTT5-3.2.2-10] */
TALK(test_subscribe_above_max_qos_is_granted_less, "max_qos 0",
     "a> {311} 82 06 0001 0001 't' 02", "a< {ok311} 90 03 0001 00")
/* [MQTT5-3.2.2-18] */
TALK(test_publish_alias_where_none_is_allowed_closes, "max_topic_alias 0",
     "a> {5}", "a< 20 0b 00 00 08 21 03e8 27 001e8480", "a> 30 08 0001 't' 03 23 0001 'x'", "a< e0 01 94", "a.")
/* [MQTT5-3.1.3-10] */
TALK(test_will_user_properties_keep_their_order, NULL, "w> {5} 82 07 0001 00 0001 't' 00", "w< {ok5} 90 04 0001 00 00",
     "a> 10 23 0004 'MQTT' 05 06 0000 00 0001 'a' 0e 26 0001 'k' 0001 'v' 26 0001 'k' 0001 'w' 0001 't' 0001 'x'", "a< {ok5}", "a!",
     "w< 30 13 0001 't' 0e 26 0001 'k' 0001 'v' 26 0001 'k' 0001 'w' 'x'")
/* [MQTT311-3.1.2-12] */
TALK(test_will_none_was_given_none_is_sent, NULL, WATCH, "a> {311}", "a< {ok311}", "a!", "w<")
/* [MQTT311-3.1.2-19] [MQTT311-3.1.2-21] [MQTT311-3.1.3-3] */
TALK(test_connect_flags_without_their_fields_are_malformed, NULL,
     "a> 10 0d 0004 'MQTT' 04 82 0000 0001 'a'", "a<", "a.", "b> 10 10 0004 'MQTT' 04 c2 0000 0001 'b' 0001 'u'", "b<", "b.",
     "c> 10 0a 0004 'MQTT' 04 02 0000", "c<", "c.")
/* [MQTT311-3.1.2-7] */
TALK(test_retained_outlives_its_publishers_session, NULL,
     "a> {311} 31 04 0001 't' 'x' e0 00", "a< {ok311}", "a.", "w> {311} 82 06 0001 0001 't' 00", "w< {ok311} 90 03 0001 00 31 04 0001 't' 'x'")
/* [MQTT5-4.3.2-5] [MQTT311-2.3.1-4] */
TALK(test_deliver_identifiers_differ_while_in_use, NULL, WATCH,
     "a> {311} 32 06 0001 't' 0001 'x' 32 06 0001 't' 0001 'y'", "w< 32 06 0001 't' 0001 'x' 32 06 0001 't' 0002 'y'", "w> 40 02 0001 40 02 0002",
     "a> 32 06 0001 't' 0001 'z'", "w< 32 06 0001 't' 0003 'z'")
/* [MQTT5-4.3.3-7] [MQTT5-4.3.3-13] */
TALK(test_deliver_once_begun_is_completed_after_expiry, NULL,
     "w> 10 13 0004 'MQTT' 05 00 0000 05 11 00000064 0001 'w' 82 07 0001 00 0001 't' 02", "w< {ok5} 90 04 0001 00 02",
     "a> {5} 34 0c 0001 't' 0001 05 02 00000001 'x'", "a< {ok5} 50 02 0001", "w< 34 0c 0001 't' 0001 05 02 00000001 'x'", "w!", "+3000",
     "w> 10 13 0004 'MQTT' 05 00 0000 05 11 00000064 0001 'w'", "w< 20 0e 01 00 0b 21 03e8 27 001e8480 22 000a 3c 0c 0001 't' 0001 05 02 00000000 'x'",
     "w> 50 02 0001", "w< 62 02 0001", "+3000", "w> 70 02 0001 c0 00", "w< d0 00")
/* [MQTT311-3.10.4-3] */
TALK(test_unsubscribe_lets_what_has_begun_end, NULL, WATCH,
     "a> {311} 34 06 0001 't' 0001 'x'", "w< 34 06 0001 't' 0001 'x'", "w> a2 05 0002 0001 't' 50 02 0001", "w< b0 02 0002 62 02 0001", "w> 70 02 0001 c0 00", "w< d0 00")
/* [MQTT5-3.14.2-2]: nothing but the reason code */
TALK(test_disconnect_from_the_server_is_a_reason_alone, NULL, "a> {5}", "a< {ok5}", "a> 00 00", "a< e0 01 81", "a.")

/* clang-format on */

int main(void) /* NOLINT(readability-function-size): one line a test */
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connect_first_packet_is_another_closes),
        cmocka_unit_test(test_connect_twice_is_a_protocol_error),
        cmocka_unit_test(test_connect_connack_is_first_and_once),
        cmocka_unit_test(test_connect_unknown_version_gets_return_code_1),
        cmocka_unit_test(test_connect_other_protocol_name_is_refused),
        cmocka_unit_test(test_connect_reserved_flag_is_malformed),
        cmocka_unit_test(test_connect_version_31_is_served),
        cmocka_unit_test(test_connect_version_not_accepted_is_refused),
        cmocka_unit_test(test_connect_v311_persistent_without_identifier_is_refused),
        cmocka_unit_test(test_connect_v311_clean_without_identifier_is_served),
        cmocka_unit_test(test_connect_without_identifier_can_be_forbidden),
        cmocka_unit_test(test_connect_authentication_method_is_refused),
        cmocka_unit_test(test_connect_auth_without_method_is_a_protocol_error),
        cmocka_unit_test(test_packet_reserved_flags_are_malformed),
        cmocka_unit_test(test_packet_that_only_a_server_sends_is_a_protocol_error),
        cmocka_unit_test(test_session_present_says_what_is_there),
        cmocka_unit_test(test_session_v311_is_kept_without_clean_session),
        cmocka_unit_test(test_session_ends_after_its_expiry),
        cmocka_unit_test(test_session_that_never_expires_is_there_after_a_year),
        cmocka_unit_test(test_session_expiry_is_changed_by_disconnect),
        cmocka_unit_test(test_session_expiry_of_zero_cannot_be_raised),
        cmocka_unit_test(test_session_expiry_is_limited_and_told),
        cmocka_unit_test(test_takeover_ends_the_first_connection),
        cmocka_unit_test(test_keep_alive_ends_after_one_and_a_half),
        cmocka_unit_test(test_keep_alive_is_kept_by_pings),
        cmocka_unit_test(test_keep_alive_longest_is_told_and_enforced),
        cmocka_unit_test(test_connect_must_come_in_time),
        cmocka_unit_test(test_will_is_sent_when_the_network_goes),
        cmocka_unit_test(test_will_is_forgotten_after_disconnect),
        cmocka_unit_test(test_will_is_sent_after_disconnect_with_04),
        cmocka_unit_test(test_will_is_sent_after_a_protocol_error),
        cmocka_unit_test(test_will_delay_is_waited_for),
        cmocka_unit_test(test_will_delay_ends_with_the_session),
        cmocka_unit_test(test_will_delayed_is_not_sent_when_the_client_is_back),
        cmocka_unit_test(test_will_delayed_is_sent_when_the_client_starts_clean),
        cmocka_unit_test(test_will_retain_flag_is_obeyed),
        cmocka_unit_test(test_will_for_the_brokers_topics_is_refused),
        cmocka_unit_test(test_will_above_max_qos_is_refused),
        cmocka_unit_test(test_publish_qos0_is_delivered_once),
        cmocka_unit_test(test_publish_qos1_is_acknowledged),
        cmocka_unit_test(test_publish_qos2_goes_through_both_halves),
        cmocka_unit_test(test_publish_qos2_sent_again_is_delivered_once),
        cmocka_unit_test(test_publish_nobody_hears_is_told_at_v5),
        cmocka_unit_test(test_publish_qos3_is_malformed),
        cmocka_unit_test(test_publish_dup_at_qos0_is_malformed),
        cmocka_unit_test(test_publish_wildcard_in_topic_closes),
        cmocka_unit_test(test_publish_topic_that_is_not_utf8_closes),
        cmocka_unit_test(test_publish_identifier_zero_is_a_protocol_error),
        cmocka_unit_test(test_publish_above_max_qos_closes),
        cmocka_unit_test(test_publish_retained_where_it_is_not_available_closes),
        cmocka_unit_test(test_publish_beyond_receive_maximum_closes),
        cmocka_unit_test(test_deliver_no_more_than_the_clients_receive_maximum),
        cmocka_unit_test(test_publish_larger_than_allowed_closes),
        cmocka_unit_test(test_deliver_nothing_larger_than_the_client_takes),
        cmocka_unit_test(test_publish_to_the_brokers_topics_is_refused),
        cmocka_unit_test(test_publish_payload_format_is_checked_when_asked),
        cmocka_unit_test(test_publish_properties_travel_on_in_order),
        cmocka_unit_test(test_publish_expiry_counts_while_queued),
        cmocka_unit_test(test_publish_alias_stands_for_its_topic),
        cmocka_unit_test(test_publish_alias_beyond_the_maximum_closes),
        cmocka_unit_test(test_publish_alias_that_nobody_set_closes),
        cmocka_unit_test(test_deliver_with_aliases_only_as_many_as_the_client_allows),
        cmocka_unit_test(test_deliver_dup_is_not_taken_from_the_publisher),
        cmocka_unit_test(test_redelivery_is_in_the_old_order_with_dup),
        cmocka_unit_test(test_redelivery_ends_with_an_error_pubrec),
        cmocka_unit_test(test_pubrec_that_nobody_waits_for_is_told),
        cmocka_unit_test(test_pubrel_with_other_flags_is_malformed),
        cmocka_unit_test(test_pubrel_that_nobody_waits_for_is_told),
        cmocka_unit_test(test_subscribe_has_one_code_a_filter),
        cmocka_unit_test(test_subscribe_with_other_flags_is_malformed),
        cmocka_unit_test(test_subscribe_without_filter_is_a_protocol_error),
        cmocka_unit_test(test_subscribe_reserved_option_bits_are_malformed),
        cmocka_unit_test(test_subscribe_no_local_on_a_shared_filter_is_a_protocol_error),
        cmocka_unit_test(test_subscribe_no_local_keeps_own_messages_away),
        cmocka_unit_test(test_subscribe_overlapping_gives_one_delivery),
        cmocka_unit_test(test_subscribe_again_replaces_and_sends_retained_again),
        cmocka_unit_test(test_subscribe_retain_handling_is_obeyed),
        cmocka_unit_test(test_subscribe_retain_as_published_keeps_the_flag),
        cmocka_unit_test(test_subscribe_wildcards_do_not_reach_dollar_topics),
        cmocka_unit_test(test_unsubscribe_stops_and_says_what_was_there),
        cmocka_unit_test(test_unsubscribe_v311_has_no_payload),
        cmocka_unit_test(test_unsubscribe_with_other_flags_is_malformed),
        cmocka_unit_test(test_unsubscribe_without_filter_is_a_protocol_error),
        cmocka_unit_test(test_retained_is_replaced_and_cleared),
        cmocka_unit_test(test_retained_expires),
        cmocka_unit_test(test_disconnect_with_other_flags_is_malformed),
        cmocka_unit_test(test_disconnect_ends_the_connection_without_a_word),
        cmocka_unit_test(test_bridge_does_not_get_its_own_back_and_keeps_retain),
        cmocka_unit_test(test_connect_refused_nothing_more_is_processed),
        cmocka_unit_test(test_connect_assigned_identifiers_differ_and_are_told),
        cmocka_unit_test(test_will_retained_where_it_is_not_available_is_refused),
        cmocka_unit_test(test_subscribe_above_max_qos_is_granted_less),
        cmocka_unit_test(test_publish_alias_where_none_is_allowed_closes),
        cmocka_unit_test(test_will_user_properties_keep_their_order),
        cmocka_unit_test(test_will_none_was_given_none_is_sent),
        cmocka_unit_test(test_connect_flags_without_their_fields_are_malformed),
        cmocka_unit_test(test_retained_outlives_its_publishers_session),
        cmocka_unit_test(test_deliver_identifiers_differ_while_in_use),
        cmocka_unit_test(test_deliver_once_begun_is_completed_after_expiry),
        cmocka_unit_test(test_unsubscribe_lets_what_has_begun_end),
        cmocka_unit_test(test_disconnect_from_the_server_is_a_reason_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
