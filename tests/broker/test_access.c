/* SPDX-License-Identifier: MIT */
/*
 * Rules in use: what is refused when it is published, what does not reach whom, and what a reload
 * changes for clients that are connected, away, or members of a group. The meaning of the rules
 * themselves stands in test_acl.c.
 */
#include "broker/auth/access.h"
#include "broker/conn_state.h"
#include "broker/log.h"
#include "tests/broker/support/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { FOREVER = 0xFFFFFFFF };
enum { WORKERS = 2 };

/* ann may do everything with a/#, but for a/secret; bob may read a/# and write b. */
#define RULES                                                                                      \
    "user ann\ntopic a/#\ntopic deny a/secret\ntopic readwrite $SYS/#\n"                           \
    "user bob\ntopic read a/#\ntopic write b\n"                                                    \
    "pattern readwrite own/%u/#\n"

struct fixture {
    struct world world;
    struct peer ann, bob, other;
    unsigned lines; /* logged about refusals */
    char line[LOG_LINE_MAX];
};

static void keep_line(void *ctx, enum log_level level, const char *line, size_t len)
{
    struct fixture *f = ctx;
    (void)level;
    if (!strstr(line, "may not") && !strstr(line, "not logged"))
        return;
    f->lines++;
    snprintf(f->line, sizeof f->line, "%.*s", (int)len, line);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    world_init_guarded(&f->world, WORKERS, "sys_interval 0\n", RULES);
    log_set_sink(keep_line, f, LOG_MASK_DEFAULT);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    peer_done(&f->ann);
    peer_done(&f->bob);
    peer_done(&f->other);
    world_done(&f->world);
    log_set_sink(NULL, NULL, 0);
    free(f);
    return 0;
}

static void connect_both(struct fixture *f)
{
    peer_connect(&f->ann, &f->world, "ann-1", &(struct connect_options){ .user = "ann" });
    peer_connect(&f->bob, &f->world, "bob-1",
                 &(struct connect_options){ .user = "bob", .worker = 1 });
}

static void expect_message(struct peer *peer, const char *topic)
{
    const struct received *got = peer_next(peer);
    if (!topic) {
        assert_null(got);
        return;
    }
    assert_non_null(got);
    assert_string_equal(got->topic, topic);
}

static uint64_t denied(const struct fixture *f)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < WORKERS; i++)
        sum += atomic_load(&broker_worker(f->world.broker, i)->stats.publish_denied);
    return sum;
}

/* ---- publishing ---- */

static void test_publish_that_no_rule_allows_is_refused(void **state)
{
    struct fixture *f = *state;
    connect_both(f);
    peer_subscribe(&f->ann, "#", 2, 0);
    peer_publish(&f->bob, "a/x", "no", 1, false);
    assert_int_equal(f->bob.last[MQTT_PUBACK], MQTT_NOT_AUTHORIZED);
    peer_publish(&f->bob, "a/x", "no", 0, false);
    unsigned releases = f->bob.packets[MQTT_PUBCOMP];
    peer_publish(&f->bob, "a/x", "no", 2, false);
    assert_int_equal(f->bob.last[MQTT_PUBREC], MQTT_NOT_AUTHORIZED);
    assert_int_equal(f->bob.packets[MQTT_PUBCOMP], releases + 1); /* of an unknown identifier */
    expect_message(&f->ann, NULL);
    assert_int_equal(denied(f), 3);
    peer_publish(&f->ann, "a/x", "yes", 1, false);
    assert_int_equal(f->ann.last[MQTT_PUBACK], MQTT_SUCCESS);
    expect_message(&f->ann, "a/x");
    assert_int_equal(denied(f), 3);
}

static void test_publish_is_decided_for_each_topic(void **state)
{
    struct fixture *f = *state;
    connect_both(f);
    for (int i = 0; i < 3; i++) { /* what is remembered is the last topic, not the last answer */
        peer_publish(&f->ann, "a/secret", "no", 1, false);
        assert_int_equal(f->ann.last[MQTT_PUBACK], MQTT_NOT_AUTHORIZED);
        peer_publish(&f->ann, "a/x", "yes", 1, false);
        assert_int_equal(f->ann.last[MQTT_PUBACK], MQTT_NO_MATCHING_SUBSCRIBERS);
        peer_publish(&f->ann, "own/ann/x", "yes", 1, false);
        assert_int_equal(f->ann.last[MQTT_PUBACK], MQTT_NO_MATCHING_SUBSCRIBERS);
        peer_publish(&f->ann, "own/bob/x", "no", 1, false);
        assert_int_equal(f->ann.last[MQTT_PUBACK], MQTT_NOT_AUTHORIZED);
    }
}

static void test_publish_to_the_brokers_own_topics_stays_refused(void **state)
{
    struct fixture *f = *state;
    connect_both(f);
    peer_publish(&f->ann, "$SYS/x", "no", 1, false); /* whatever the rules say */
    assert_int_equal(f->ann.last[MQTT_PUBACK], MQTT_NOT_AUTHORIZED);
}

static void test_refusals_are_logged_once_for_each_rule_or_topic(void **state)
{
    struct fixture *f = *state;
    char topic[16];
    connect_both(f);
    for (int i = 0; i < 3; i++)
        peer_publish(&f->ann, "a/secret", "no", 0, false);
    assert_int_equal(f->lines, 1);
    assert_string_equal(f->line, "Client ann-1 [test] user ann may not publish to a/secret: "
                                 "rules:3 denies a/secret.");
    for (int i = 0; i < 3; i++)
        peer_publish(&f->bob, "a/x", "no", 0, false);
    assert_int_equal(f->lines, 2);
    assert_string_equal(f->line,
                        "Client bob-1 [test] user bob may not publish to a/x: no rule allows it.");
    for (int i = 0; i < 100; i++) { /* and not for ever */
        snprintf(topic, sizeof topic, "x/%d", i);
        peer_publish(&f->bob, topic, "no", 0, false);
    }
    assert_int_equal(f->lines, 2 + 32);
    assert_string_equal(f->line,
                        "Client bob-1 [test] user bob: more refusals, which are not logged.");
    assert_int_equal(denied(f), 106);
}

static void test_will_is_sent_only_if_it_may_be_published(void **state)
{
    struct fixture *f = *state;
    connect_both(f);
    peer_subscribe(&f->ann, "a/#", 0, 0);
    peer_connect(&f->other, &f->world, "o",
                 &(struct connect_options){ .user = "bob", .will = "a/w" });
    peer_lose(&f->other);
    expect_message(&f->ann, NULL);
    assert_int_equal(f->lines, 1);
    peer_connect(&f->other, &f->world, "o",
                 &(struct connect_options){ .user = "ann", .will = "a/w" });
    peer_lose(&f->other);
    expect_message(&f->ann, "a/w");
}

/* ---- receiving ---- */

static void test_messages_reach_only_those_who_may_read_them(void **state)
{
    struct fixture *f = *state;
    connect_both(f);
    peer_connect(&f->other, &f->world, "nobody", &(struct connect_options){ .worker = 1 });
    peer_subscribe(&f->ann, "#", 1, 0);
    peer_subscribe(&f->bob, "#", 1, 0);
    peer_subscribe(&f->other, "#", 1, 0);
    peer_publish(&f->bob, "b", "x", 1, false);
    assert_int_equal(f->bob.last[MQTT_PUBACK], MQTT_SUCCESS);
    peer_publish(&f->ann, "a/x", "x", 1, false);
    peer_publish(&f->ann, "own/ann/x", "x", 1, false);
    expect_message(&f->ann, "a/x");
    expect_message(&f->ann, "own/ann/x");
    expect_message(&f->ann, NULL);
    expect_message(&f->bob, "a/x");
    expect_message(&f->bob, NULL);
    expect_message(&f->other, NULL);
}

/* Filters that overlap: one is open, one must be asked about, one is denied. */
static void test_what_one_filter_allows_no_other_takes_away(void **state)
{
    struct fixture *f = *state;
    connect_both(f);
    peer_subscribe(&f->bob, "#", 0, 1);
    peer_subscribe(&f->bob, "a/+", 0, 2);
    peer_subscribe(&f->bob, "b", 0, 3);
    peer_publish(&f->ann, "a/x", "x", 0, false);
    expect_message(&f->bob, "a/x");
    peer_publish(&f->bob, "b", "x", 0, false);
    expect_message(&f->bob, NULL);
}

static void test_an_open_subscription_is_not_asked_about_again(void **state)
{
    struct fixture *f = *state;
    connect_both(f);
    peer_subscribe(&f->bob, "a/#", 0, 0);
    peer_subscribe(&f->ann, "a/#", 0, 0);
    struct topic_place place = { 0 };
    const struct match_result *match = route_match(broker_worker(f->world.broker, 0),
                                                   span_str("a/x"), &place);
    assert_int_equal(match->count, 2);
    for (unsigned i = 0; i < match->count; i++) /* all of a/# may be read by bob, not by ann */
        assert_int_equal(match->hits[i].options & ENTRY_ASK,
                         match->hits[i].target == f->bob.conn->session ? 0 : ENTRY_ASK);
}

static void test_a_filter_of_which_nothing_may_be_read_matches_nothing(void **state)
{
    struct fixture *f = *state;
    connect_both(f);
    peer_subscribe(&f->bob, "b", 0, 0);
    assert_int_equal(f->bob.last[MQTT_SUBACK], MQTT_SUCCESS); /* as mosquitto */
    peer_publish(&f->bob, "b", "x", 1, false);
    assert_int_equal(f->bob.last[MQTT_PUBACK], MQTT_NO_MATCHING_SUBSCRIBERS);
}

static void test_retained_messages_obey_the_rules_too(void **state)
{
    struct fixture *f = *state;
    connect_both(f);
    peer_publish(&f->ann, "a/x", "r", 1, true);
    peer_publish(&f->ann, "own/ann/x", "r", 1, true);
    peer_publish(&f->bob, "b", "r", 1, true);
    peer_subscribe(&f->bob, "#", 0, 0);
    expect_message(&f->bob, "a/x");
    expect_message(&f->bob, NULL);
    peer_subscribe(&f->bob, "b", 0, 0);
    peer_subscribe(&f->bob, "own/#", 0, 0);
    expect_message(&f->bob, NULL);
    peer_subscribe(&f->ann, "+/#", 0, 0);
    assert_int_equal(peer_unseen(&f->ann), 2);
}

static void test_retained_message_goes_with_the_right_to_publish_it(void **state)
{
    struct fixture *f = *state;
    connect_both(f);
    peer_publish(&f->ann, "a/x", "r", 1, true);
    peer_publish(&f->ann, "a/y", "r", 1, true);
    peer_disconnect(&f->ann);
    world_reload_rules(&f->world, "user ann\ntopic write a/y\nuser bob\ntopic read a/#\n");
    peer_subscribe(&f->bob, "a/#", 0, 0);
    expect_message(&f->bob, "a/y");
    expect_message(&f->bob, NULL);
    f->world.options = "sys_interval 0\ncheck_retain_source false\n";
    world_reload_rules(&f->world, "user ann\ntopic write a/y\nuser bob\ntopic read a/#\n");
    peer_subscribe(&f->bob, "a/x", 0, 0);
    expect_message(&f->bob, "a/x");
    peer_connect(&f->ann, &f->world, "ann-1", &(struct connect_options){ .user = "bob" });
    peer_subscribe(&f->ann, "a/x", 0, 0);
    expect_message(&f->ann, "a/x");
}

static void test_subscription_is_refused_where_nothing_is_allowed_if_asked_for(void **state)
{
    struct fixture *f = *state;
    (void)state;
    world_done(&f->world);
    world_init_guarded(&f->world, WORKERS, "sys_interval 0\nacl_subscribe_check true\n", RULES);
    connect_both(f);
    peer_subscribe(&f->bob, "b", 1, 0);
    assert_int_equal(f->bob.last[MQTT_SUBACK], MQTT_NOT_AUTHORIZED);
    peer_subscribe(&f->bob, "own/ann/#", 1, 0);
    assert_int_equal(f->bob.last[MQTT_SUBACK], MQTT_NOT_AUTHORIZED);
    peer_subscribe(&f->bob, "$share/g/own/ann/#", 1, 0);
    assert_int_equal(f->bob.last[MQTT_SUBACK], MQTT_NOT_AUTHORIZED);
    peer_subscribe(&f->bob, "#", 1, 0);
    assert_int_equal(f->bob.last[MQTT_SUBACK], MQTT_GRANTED_QOS1);
    peer_subscribe(&f->bob, "own/+/x", 1, 0);
    assert_int_equal(f->bob.last[MQTT_SUBACK], MQTT_GRANTED_QOS1);
    assert_int_equal(f->lines, 2); /* twice the same filter */
}

/* ---- a reload ---- */

#define BOB_ONLY_A "user bob\ntopic read a\nuser ann\ntopic #\n"

static void test_reload_holds_for_those_who_are_connected(void **state)
{
    struct fixture *f = *state;
    connect_both(f);
    peer_subscribe(&f->bob, "a/#", 0, 0);
    peer_subscribe(&f->bob, "b", 0, 0);
    peer_publish(&f->ann, "a/x", "x", 0, false);
    expect_message(&f->bob, "a/x");

    world_reload_rules(&f->world, BOB_ONLY_A);
    peer_publish(&f->ann, "a/x", "x", 0, false);
    expect_message(&f->bob, NULL);
    peer_publish(&f->ann, "a", "x", 0, false);
    expect_message(&f->bob, "a");
    peer_publish(&f->ann, "a/secret", "x", 1, false);
    assert_int_equal(f->ann.last[MQTT_PUBACK], MQTT_SUCCESS); /* bob is asked */
    peer_publish(&f->bob, "b", "x", 1, false);
    assert_int_equal(f->bob.last[MQTT_PUBACK], MQTT_NOT_AUTHORIZED);

    world_reload_rules(&f->world, "user bob\ntopic #\nuser ann\ntopic #\n");
    peer_publish(&f->bob, "b", "x", 1, false); /* its filter matched nothing before */
    assert_int_equal(f->bob.last[MQTT_PUBACK], MQTT_SUCCESS);
    expect_message(&f->bob, "b");

    world_reload_rules(&f->world, NULL);
    peer_publish(&f->bob, "a/y", "x", 1, false);
    expect_message(&f->bob, "a/y");

    world_reload_rules(&f->world, "user ann\ntopic #\n");
    peer_publish(&f->ann, "a/y", "x", 1, false);
    expect_message(&f->bob, NULL);
    peer_publish(&f->bob, "a/y", "x", 1, false);
    assert_int_equal(f->bob.last[MQTT_PUBACK], MQTT_NOT_AUTHORIZED);
}

static void subscribe_to_many(struct peer *peer)
{
    char filter[32];
    for (int i = 0; i < 5000; i++) { /* more than are decided in a turn */
        snprintf(filter, sizeof filter, "own/ann/%d", i);
        peer_subscribe(peer, filter, 0, 0);
    }
}

/* The message is matched under the old rules, and reaches bob's worker behind the new ones, under
 * which his filters are not all marked yet. */
static void test_reload_is_not_outrun_by_messages(void **state)
{
    struct fixture *f = *state;
    connect_both(f);
    subscribe_to_many(&f->bob);
    peer_subscribe(&f->bob, "a/#", 0, 0);
    f->world.threaded = true; /* nothing runs by itself */
    world_reload_rules(&f->world, BOB_ONLY_A);
    peer_publish(&f->ann, "a/x", "x", 0, false);
    (void)world_turn(&f->world, 0);
    f->world.threaded = false;
    world_run(&f->world);
    expect_message(&f->bob, NULL);
}

static void test_reload_takes_back_what_waits_in_a_queue(void **state)
{
    struct fixture *f = *state;
    struct connect_options persistent = {
        .user = "bob", .resume = true, .expiry = FOREVER, .worker = 1
    };
    connect_both(f);
    peer_disconnect(&f->bob);
    peer_connect(&f->bob, &f->world, "bob-1", &persistent);
    peer_subscribe(&f->bob, "#", 1, 0);
    peer_disconnect(&f->bob);
    peer_publish(&f->ann, "a/1", "x", 1, false);
    peer_publish(&f->ann, "a", "x", 1, false);
    peer_publish(&f->ann, "a/2", "x", 1, false);
    world_reload_rules(&f->world, BOB_ONLY_A);
    peer_publish(&f->ann, "a/3", "x", 1, false);
    peer_publish(&f->ann, "a", "y", 1, false);
    peer_connect(&f->bob, &f->world, "bob-1", &persistent);
    expect_message(&f->bob, "a");
    expect_message(&f->bob, "a");
    expect_message(&f->bob, NULL);
}

static void test_what_was_sent_is_not_sent_again_to_who_may_not_read_it(void **state)
{
    struct fixture *f = *state;
    struct connect_options persistent = {
        .user = "bob", .resume = true, .expiry = FOREVER, .worker = 1
    };
    connect_both(f);
    peer_disconnect(&f->bob);
    peer_connect(&f->bob, &f->world, "bob-1", &persistent);
    peer_subscribe(&f->bob, "#", 1, 0);
    peer_publish(&f->ann, "a/1", "x", 1, false);
    peer_publish(&f->ann, "a", "x", 1, false);
    expect_message(&f->bob, "a/1");
    expect_message(&f->bob, "a");
    peer_lose(&f->bob);
    world_reload_rules(&f->world, BOB_ONLY_A);
    peer_connect(&f->bob, &f->world, "bob-1", &persistent);
    expect_message(&f->bob, "a");
    expect_message(&f->bob, NULL);
}

/* A client identifier is no secret: whoever takes the session has only what he may read. */
static void test_session_of_another_user_shows_nothing_that_he_may_not_read(void **state)
{
    struct fixture *f = *state;
    struct connect_options options = { .user = "ann", .resume = true, .expiry = FOREVER };
    connect_both(f);
    peer_connect(&f->other, &f->world, "s", &options);
    peer_subscribe(&f->other, "#", 1, 0);
    peer_subscribe(&f->other, "own/ann/#", 1, 0);
    peer_disconnect(&f->other);
    peer_publish(&f->ann, "own/ann/x", "x", 1, false);
    peer_publish(&f->ann, "a/x", "x", 1, false);
    options.user = "bob";
    options.worker = 1;
    peer_connect(&f->other, &f->world, "s", &options);
    expect_message(&f->other, "a/x");
    expect_message(&f->other, NULL);
    peer_publish(&f->ann, "own/ann/y", "x", 1, false);
    expect_message(&f->other, NULL);
    peer_disconnect(&f->other);
    options.user = "ann";
    peer_connect(&f->other, &f->world, "s", &options);
    peer_publish(&f->ann, "own/ann/z", "x", 1, false);
    expect_message(&f->other, "a/x"); /* again: it was not acknowledged */
    expect_message(&f->other, "own/ann/z");
}

static void test_reload_decides_thousands_of_filters_in_slices(void **state)
{
    struct fixture *f = *state;
    char filter[32];
    connect_both(f);
    subscribe_to_many(&f->bob);
    peer_publish(&f->ann, "own/ann/4999", "x", 1, false);
    assert_int_equal(f->ann.last[MQTT_PUBACK], MQTT_NO_MATCHING_SUBSCRIBERS);
    world_reload_rules(&f->world, NULL);
    for (int i = 0; i < 5000; i += 499) {
        snprintf(filter, sizeof filter, "own/ann/%d", i);
        peer_publish(&f->ann, filter, "x", 1, false);
        assert_int_equal(f->ann.last[MQTT_PUBACK], MQTT_SUCCESS);
        expect_message(&f->bob, filter);
    }
}

/* ---- groups ---- */

static void test_group_chooses_among_those_who_may_read(void **state)
{
    struct fixture *f = *state;
    connect_both(f);
    peer_connect(&f->other, &f->world, "nobody", &(struct connect_options){ .worker = 1 });
    peer_subscribe(&f->ann, "$share/g/#", 1, 0);
    peer_subscribe(&f->bob, "$share/g/#", 1, 0);
    peer_subscribe(&f->other, "$share/g/#", 1, 0);
    for (int i = 0; i < 6; i++)
        peer_publish(&f->ann, "a/x", "x", 1, false);
    for (int i = 0; i < 3; i++)
        peer_publish(&f->ann, "own/ann/x", "x", 1, false);
    assert_int_equal(peer_unseen(&f->ann), 6);
    assert_int_equal(peer_unseen(&f->bob), 3);
    assert_int_equal(peer_unseen(&f->other), 0);
    peer_publish(&f->bob, "own/bob/x", "x", 0, false);
    assert_int_equal(peer_unseen(&f->bob), 4);
    peer_publish(&f->bob, "b", "x", 0, false); /* nobody may: it is in nobody's way */
    peer_publish(&f->ann, "own/ann/x", "x", 0, false);
    assert_int_equal(peer_unseen(&f->ann), 7);
}

static void test_group_waits_for_a_member_who_may_read(void **state)
{
    struct fixture *f = *state;
    peer_connect(&f->ann, &f->world, "ann-1",
                 &(struct connect_options){ .user = "ann", .receive_maximum = 1 });
    peer_connect(&f->bob, &f->world, "bob-1",
                 &(struct connect_options){ .user = "bob", .worker = 1 });
    peer_subscribe(&f->ann, "$share/g/#", 1, 0);
    peer_subscribe(&f->bob, "$share/g/#", 1, 0);
    peer_publish(&f->ann, "own/ann/1", "x", 1, false);
    peer_publish(&f->ann, "own/ann/2", "x", 1, false);
    expect_message(&f->ann, "own/ann/1");
    expect_message(&f->ann, NULL);
    peer_ack(&f->ann, MQTT_PUBACK, 1, MQTT_SUCCESS);
    expect_message(&f->ann, "own/ann/2");
    assert_int_equal(peer_unseen(&f->bob), 0);
}

static void test_group_takes_new_rules_and_new_users(void **state)
{
    struct fixture *f = *state;
    struct connect_options options = { .user = "bob", .resume = true, .expiry = FOREVER };
    connect_both(f);
    peer_connect(&f->other, &f->world, "s", &options);
    peer_subscribe(&f->other, "$share/g/own/ann/#", 1, 0);
    peer_publish(&f->ann, "own/ann/x", "x", 1, false);
    expect_message(&f->other, NULL);
    world_reload_rules(&f->world, "user bob\ntopic read own/#\nuser ann\ntopic #\n");
    peer_publish(&f->ann, "own/ann/x", "x", 1, false);
    expect_message(&f->other, "own/ann/x");
    world_reload_rules(&f->world, RULES);
    peer_publish(&f->ann, "own/ann/x", "x", 1, false);
    expect_message(&f->other, NULL);
    peer_disconnect(&f->other);
    options.user = "ann";
    peer_connect(&f->other, &f->world, "s", &options);
    peer_publish(&f->ann, "own/ann/y", "x", 1, false);
    f->other.taken = f->other.count - 1; /* what was sent before may come again */
    expect_message(&f->other, "own/ann/y");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_publish_that_no_rule_allows_is_refused),
        TEST(test_publish_is_decided_for_each_topic),
        TEST(test_publish_to_the_brokers_own_topics_stays_refused),
        TEST(test_refusals_are_logged_once_for_each_rule_or_topic),
        TEST(test_will_is_sent_only_if_it_may_be_published),
        TEST(test_messages_reach_only_those_who_may_read_them),
        TEST(test_what_one_filter_allows_no_other_takes_away),
        TEST(test_an_open_subscription_is_not_asked_about_again),
        TEST(test_a_filter_of_which_nothing_may_be_read_matches_nothing),
        TEST(test_retained_messages_obey_the_rules_too),
        TEST(test_retained_message_goes_with_the_right_to_publish_it),
        TEST(test_subscription_is_refused_where_nothing_is_allowed_if_asked_for),
        TEST(test_reload_holds_for_those_who_are_connected),
        TEST(test_reload_is_not_outrun_by_messages),
        TEST(test_reload_takes_back_what_waits_in_a_queue),
        TEST(test_what_was_sent_is_not_sent_again_to_who_may_not_read_it),
        TEST(test_session_of_another_user_shows_nothing_that_he_may_not_read),
        TEST(test_reload_decides_thousands_of_filters_in_slices),
        TEST(test_group_chooses_among_those_who_may_read),
        TEST(test_group_waits_for_a_member_who_may_read),
        TEST(test_group_takes_new_rules_and_new_users),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
