/* SPDX-License-Identifier: MIT */
/* Shared subscriptions [MQTT5-4.8.2]: who gets what, what is taken back, what waits, and that a
 * group ends with its last member. */
#include "tests/broker/support/world.h"

#include "broker/group_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { FOREVER = 0xFFFFFFFF };
static const char SHARE[] = "$share/g/job";

/* Every test runs with one worker and with three, where group, members and publisher live apart. */
struct fixture {
    struct world world;
    unsigned workers;
    struct peer publisher, a, b;
};

static int set_up(void **state, unsigned workers, const char *options)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->workers = workers;
    world_init(&f->world, workers, options);
    peer_connect(&f->publisher, &f->world, "publisher", &(struct connect_options){ .worker = 0 });
    *state = f;
    return 0;
}

static int one_worker(void **state)
{
    return set_up(state, 1, NULL);
}

static int three_workers(void **state)
{
    return set_up(state, 3, NULL);
}

static int threads(void **state)
{
    return set_up(state, 3, "max_queued_messages 0\nmax_queued_bytes 0\n");
}

static int small_queue(void **state)
{
    return set_up(state, 1, "max_queued_messages 3\n");
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    peer_done(&f->publisher);
    peer_done(&f->a);
    peer_done(&f->b);
    world_pass(&f->world, 1000); /* sessions with a short expiry end */
    world_done(&f->world);
    free(f);
    return 0;
}

static void join(struct fixture *f, struct peer *peer, const char *id, uint8_t qos,
                 struct connect_options options)
{
    peer_connect(peer, &f->world, id, &options);
    peer_subscribe(peer, SHARE, qos, 0);
    assert_int_equal(peer->last[MQTT_SUBACK], qos & MQTT_SUB_QOS);
}

static void publish(struct fixture *f, const char *payload, uint8_t qos)
{
    peer_publish(&f->publisher, "job", payload, qos, false);
}

/* The next PUBLISH of a peer is this one; returns its identifier. */
static uint16_t expect(struct peer *peer, const char *payload)
{
    const struct received *received = peer_next(peer);
    assert_non_null(received);
    assert_string_equal(received->payload, payload);
    return received->id;
}

static void expect_and_ack(struct peer *peer, const char *payload)
{
    peer_ack(peer, MQTT_PUBACK, expect(peer, payload), MQTT_SUCCESS);
}

static void expect_nothing(struct peer *peer)
{
    assert_int_equal(peer_unseen(peer), 0);
}

/* Nothing is left of any group: the last membership was freed, and the fence has passed. */
static void expect_no_group(struct fixture *f)
{
    world_run(&f->world);
    assert_int_equal(f->world.broker->groups->count, 0);
}

static void test_group_hands_out_in_turn(void **state) /* MQTT 5.0, section 4.8.2 */
{
    struct fixture *f = *state;
    join(f, &f->a, "a", 1, (struct connect_options){ .worker = 1 });
    join(f, &f->b, "b", 1, (struct connect_options){ .worker = 2 });
    for (int i = 0; i < 6; i++) {
        char payload[2] = { (char)('0' + i), 0 };
        publish(f, payload, 1);
    }
    expect(&f->a, "0"), expect(&f->a, "2"), expect(&f->a, "4");
    expect(&f->b, "1"), expect(&f->b, "3"), expect(&f->b, "5");
    expect_nothing(&f->a);
    expect_nothing(&f->b);
}

static void test_group_respects_granted_qos_of_each_member(void **state) /* [MQTT5-4.8.2-3] */
{
    struct fixture *f = *state;
    join(f, &f->a, "a", 0, (struct connect_options){ .worker = 1 });
    join(f, &f->b, "b", 1, (struct connect_options){ .worker = 2 });
    for (int i = 0; i < 4; i++)
        publish(f, "x", 2);
    assert_int_equal(peer_unseen(&f->a), 2);
    assert_int_equal(peer_unseen(&f->b), 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(peer_next(&f->a)->qos, 0);
        assert_int_equal(peer_next(&f->b)->qos, 1);
    }
}

static void test_group_resubscribing_changes_the_terms(void **state) /* [MQTT5-3.8.4-3] */
{
    struct fixture *f = *state;
    join(f, &f->a, "a", 1, (struct connect_options){ .worker = 1 });
    publish(f, "x", 1);
    assert_int_equal(peer_next(&f->a)->qos, 1);
    peer_subscribe(&f->a, SHARE, 0, 77);
    publish(f, "x", 1);
    const struct received *received = peer_next(&f->a);
    assert_int_equal(received->qos, 0);
    assert_int_equal(received->sub_id, 77);
    expect_nothing(&f->a);
}

static void test_group_full_member_is_passed_over_and_queue_keeps_order(void **state)
{
    struct fixture *f = *state;
    join(f, &f->a, "a", 1, (struct connect_options){ .worker = 1, .receive_maximum = 1 });
    join(f, &f->b, "b", 1, (struct connect_options){ .worker = 2, .receive_maximum = 2 });
    for (int i = 0; i < 6; i++) {
        char payload[2] = { (char)('0' + i), 0 };
        publish(f, payload, 1);
    }
    uint16_t a0 = expect(&f->a, "0");
    uint16_t b1 = expect(&f->b, "1"), b2 = expect(&f->b, "2");
    expect_nothing(&f->a);
    expect_nothing(&f->b);
    peer_ack(&f->b, MQTT_PUBACK, b2, MQTT_SUCCESS);
    expect(&f->b, "3");
    peer_ack(&f->a, MQTT_PUBACK, a0, MQTT_SUCCESS);
    expect(&f->a, "4");
    peer_ack(&f->b, MQTT_PUBACK, b1, MQTT_SUCCESS);
    expect(&f->b, "5");
    expect_nothing(&f->a);
}

static void publish_numbers(struct fixture *f, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++) {
        char payload[2] = { (char)('0' + i), 0 };
        publish(f, payload, 1);
    }
}

/* The window of a member is its connection's: what it has besides the group counts as well. */
static void test_group_member_full_of_other_messages_is_passed_over(void **state)
{
    struct fixture *f = *state;
    join(f, &f->a, "a", 1, (struct connect_options){ .worker = 1, .receive_maximum = 2 });
    peer_subscribe(&f->a, "other", 1, 0);
    join(f, &f->b, "b", 1, (struct connect_options){ .worker = 2 });
    for (int i = 0; i < 3; i++) /* one of them waits in the queue */
        peer_publish(&f->publisher, "other", "x", 1, false);
    uint16_t first = expect(&f->a, "x"), second = expect(&f->a, "x");
    publish_numbers(f, 0, 3);
    expect_nothing(&f->a);
    expect(&f->b, "0"), expect(&f->b, "1"), expect(&f->b, "2");
    peer_ack(&f->a, MQTT_PUBACK, first, MQTT_SUCCESS);
    uint16_t third = expect(&f->a, "x");
    publish_numbers(f, 3, 1);
    expect(&f->b, "3");
    peer_ack(&f->a, MQTT_PUBACK, second, MQTT_SUCCESS); /* room for one */
    publish_numbers(f, 4, 3);
    assert_int_equal(peer_unseen(&f->a), 1);
    assert_int_equal(peer_unseen(&f->b), 2);
    peer_ack(&f->a, MQTT_PUBACK, third, MQTT_SUCCESS);
    publish_numbers(f, 7, 3);
    assert_int_equal(peer_unseen(&f->a), 2);
    assert_int_equal(peer_unseen(&f->b), 4);
    peer_publish(&f->publisher, "other", "x", 1, false); /* takes the next place that is free */
    publish_numbers(f, 0, 2);
    assert_int_equal(peer_unseen(&f->b), 6);
}

static void test_group_member_full_of_another_groups_messages_is_passed_over(void **state)
{
    struct fixture *f = *state;
    join(f, &f->a, "a", 1, (struct connect_options){ .worker = 1, .receive_maximum = 1 });
    peer_subscribe(&f->a, "$share/g/other", 1, 0);
    peer_publish(&f->publisher, "other", "x", 1, false);
    uint16_t id = expect(&f->a, "x");
    publish_numbers(f, 0, 1); /* waits at the group: the next one has room for it */
    expect_nothing(&f->a);
    join(f, &f->b, "b", 1, (struct connect_options){ .worker = 2 });
    expect_and_ack(&f->b, "0");
    peer_ack(&f->a, MQTT_PUBACK, id, MQTT_SUCCESS);
    publish_numbers(f, 1, 2);
    assert_int_equal(peer_unseen(&f->a), 1);
    assert_int_equal(peer_unseen(&f->b), 1);
}

static void test_group_member_that_comes_back_has_less_room(void **state)
{ /* what its session has begun is sent again first */
    struct fixture *f = *state;
    struct connect_options persistent = { .worker = 1, .expiry = FOREVER, .receive_maximum = 1 };
    join(f, &f->a, "a", 1, persistent);
    peer_subscribe(&f->a, "other", 1, 0);
    peer_publish(&f->publisher, "other", "x", 1, false);
    peer_lose(&f->a);
    join(f, &f->b, "b", 1, (struct connect_options){ .worker = 2, .receive_maximum = 1 });
    persistent.resume = true;
    peer_connect(&f->a, &f->world, "a", &persistent);
    assert_int_equal(peer_unseen(&f->a), 2); /* and again */
    publish_numbers(f, 0, 2);
    expect_and_ack(&f->b, "0");
    expect_and_ack(&f->b, "1");
    assert_int_equal(peer_unseen(&f->a), 2);
}

static void test_group_full_member_is_still_somebody_to_wait_for(void **state)
{ /* at QoS 0 too, which is not kept for those who are away */
    struct fixture *f = *state;
    join(f, &f->a, "a", 1, (struct connect_options){ .worker = 1, .receive_maximum = 1 });
    peer_subscribe(&f->a, "other", 1, 0);
    peer_publish(&f->publisher, "other", "x", 1, false);
    publish(f, "later", 0);
    uint16_t id = expect(&f->a, "x");
    expect_nothing(&f->a);
    peer_ack(&f->a, MQTT_PUBACK, id, MQTT_SUCCESS);
    expect(&f->a, "later");
}

static void test_group_unacknowledged_qos1_goes_to_another_member_in_order(void **state)
{
    struct fixture *f = *state;
    join(f, &f->a, "a", 1, (struct connect_options){ .worker = 1 });
    for (int i = 0; i < 4; i++) {
        char payload[2] = { (char)('0' + i), 0 };
        publish(f, payload, 1);
    }
    expect(&f->a, "0");
    expect_and_ack(&f->a, "1");
    join(f, &f->b, "b", 1, (struct connect_options){ .worker = 2 });
    expect_nothing(&f->b);
    peer_lose(&f->a);
    static const char *const left[] = { "0", "2", "3" };
    for (int i = 0; i < 3; i++) {
        const struct received *received = peer_next(&f->b);
        assert_non_null(received);
        assert_string_equal(received->payload, left[i]);
        assert_false(received->dup); /* the first time for this client [MQTT5-3.3.1-3] */
        assert_int_equal(received->qos, 1);
        peer_ack(&f->b, MQTT_PUBACK, received->id, MQTT_SUCCESS);
    }
    expect_nothing(&f->b);
}

static void test_group_qos2_that_has_begun_stays_with_its_session(void **state)
{ /* [MQTT5-4.8.2-4] */
    struct fixture *f = *state;
    struct connect_options persistent = { .worker = 1, .expiry = FOREVER };
    join(f, &f->a, "a", 2, persistent);
    publish(f, "two", 2);
    uint16_t id = expect(&f->a, "two");
    join(f, &f->b, "b", 2, (struct connect_options){ .worker = 2 });
    peer_lose(&f->a);
    expect_nothing(&f->b);
    persistent.resume = true;
    persistent.worker = 0; /* on another worker */
    peer_connect(&f->a, &f->world, "a", &persistent);
    assert_true(f->a.session_present);
    const struct received *again = peer_next(&f->a);
    assert_non_null(again);
    assert_int_equal(again->id, id);
    assert_true(again->dup);
    peer_ack(&f->a, MQTT_PUBREC, id, MQTT_SUCCESS);
    peer_ack(&f->a, MQTT_PUBCOMP, id, MQTT_SUCCESS);
    expect_nothing(&f->b);
}

static void test_group_qos2_that_has_begun_ends_with_its_session(void **state)
{ /* [MQTT5-4.8.2-5] */
    struct fixture *f = *state;
    join(f, &f->a, "a", 2, (struct connect_options){ .worker = 1 });
    publish(f, "two", 2);
    expect(&f->a, "two");
    join(f, &f->b, "b", 2, (struct connect_options){ .worker = 2 });
    peer_lose(&f->a);
    expect_nothing(&f->b);
    peer_lose(&f->b);
    expect_no_group(f);
}

static void test_group_refused_message_is_not_sent_to_another(void **state) /* [MQTT5-4.8.2-6] */
{
    struct fixture *f = *state;
    join(f, &f->a, "a", 2, (struct connect_options){ .worker = 1 });
    publish(f, "x", 1);
    publish(f, "y", 2);
    uint16_t x = expect(&f->a, "x"), y = expect(&f->a, "y");
    join(f, &f->b, "b", 2, (struct connect_options){ .worker = 2 });
    peer_ack(&f->a, MQTT_PUBACK, x, MQTT_UNSPECIFIED_ERROR);
    peer_ack(&f->a, MQTT_PUBREC, y, MQTT_UNSPECIFIED_ERROR);
    peer_lose(&f->a);
    expect_nothing(&f->b);
}

static void test_group_waits_for_a_persistent_member(void **state)
{
    struct fixture *f = *state;
    struct connect_options persistent = { .worker = 1, .expiry = FOREVER };
    join(f, &f->a, "a", 1, persistent);
    peer_disconnect(&f->a);
    publish(f, "first", 1);
    publish(f, "lost", 0); /* QoS 0 waits for nobody */
    publish(f, "second", 1);
    persistent.resume = true;
    persistent.worker = 0;
    peer_connect(&f->a, &f->world, "a", &persistent);
    expect_and_ack(&f->a, "first");
    expect_and_ack(&f->a, "second");
    expect_nothing(&f->a);
}

static void test_group_another_member_takes_what_waits_for_an_offline_one(void **state)
{
    struct fixture *f = *state;
    join(f, &f->a, "a", 1, (struct connect_options){ .worker = 1, .expiry = 100 });
    peer_disconnect(&f->a);
    publish(f, "x", 1);
    join(f, &f->b, "b", 1, (struct connect_options){ .worker = 2 });
    expect_and_ack(&f->b, "x");
    world_pass(&f->world, 101000); /* the session of a expires */
    publish(f, "y", 1);
    expect_and_ack(&f->b, "y");
}

static void test_group_ends_with_its_last_member(void **state)
{
    struct fixture *f = *state;
    size_t before = tree_entry_count(f->world.broker->tree);
    join(f, &f->a, "a", 1, (struct connect_options){ .worker = 1 });
    join(f, &f->b, "b", 1, (struct connect_options){ .worker = 2 });
    assert_int_equal(tree_entry_count(f->world.broker->tree), before + 1);
    peer_unsubscribe(&f->a, SHARE);
    assert_int_equal(tree_entry_count(f->world.broker->tree), before + 1);
    peer_lose(&f->b);
    assert_int_equal(tree_entry_count(f->world.broker->tree), before);
    expect_no_group(f);
    publish(f, "nobody", 1);
    peer_subscribe(&f->a, SHARE, 1, 0); /* a new group of the same name, without its past */
    assert_int_equal(tree_entry_count(f->world.broker->tree), before + 1);
    publish(f, "somebody", 1);
    expect_and_ack(&f->a, "somebody");
    expect_nothing(&f->a);
}

static void test_group_acknowledgement_after_unsubscribe_is_taken(void **state)
{ /* [MQTT5-3.10.4-3] */
    struct fixture *f = *state;
    join(f, &f->a, "a", 2, (struct connect_options){ .worker = 1 });
    publish(f, "one", 1);
    publish(f, "two", 2);
    peer_unsubscribe(&f->a, SHARE);
    expect_and_ack(&f->a, "one");
    uint16_t id = expect(&f->a, "two");
    peer_ack(&f->a, MQTT_PUBREC, id, MQTT_SUCCESS);
    assert_int_equal(f->a.packets[MQTT_PUBREL], 1);
    peer_ack(&f->a, MQTT_PUBCOMP, id, MQTT_SUCCESS);
    expect_no_group(f);
    peer_subscribe(&f->a, SHARE, 1, 0);
    publish(f, "again", 1);
    expect_and_ack(&f->a, "again");
}

static void test_group_queue_is_bounded(void **state)
{
    struct fixture *f = *state; /* max_queued_messages 3 */
    join(f, &f->a, "a", 1, (struct connect_options){ .receive_maximum = 1 });
    for (int i = 0; i < 6; i++) {
        char payload[2] = { (char)('0' + i), 0 };
        publish(f, payload, 1);
    }
    for (int i = 0; i < 4; i++) { /* one under way and three that waited; the newest were dropped */
        char payload[2] = { (char)('0' + i), 0 };
        expect_and_ack(&f->a, payload);
    }
    expect_nothing(&f->a);
    assert_int_equal(atomic_load(&broker_worker(f->world.broker, 0)->stats.queue_dropped), 2);
}

static void test_group_qos0_uses_and_frees_places(void **state)
{
    struct fixture *f = *state;
    join(f, &f->a, "a", 1, (struct connect_options){ .worker = 1, .receive_maximum = 1 });
    for (int i = 0; i < 100; i++)
        publish(f, "x", 0);
    assert_int_equal(peer_unseen(&f->a), 100);
}

static void test_group_retain_flag_is_the_members_choice(void **state) /* [MQTT5-3.3.1-12, -13] */
{
    struct fixture *f = *state;
    join(f, &f->a, "a", 1 | MQTT_SUB_RETAIN_AS_PUBLISHED, (struct connect_options){ .worker = 1 });
    join(f, &f->b, "b", 1, (struct connect_options){ .worker = 2 });
    for (int i = 0; i < 2; i++)
        peer_publish(&f->publisher, "job", "x", 1, true);
    assert_true(peer_next(&f->a)->retain);
    assert_false(peer_next(&f->b)->retain);
    peer_publish(&f->publisher, "job", "", 0, true); /* clears it */
}

static void test_group_retained_message_is_not_sent_on_subscribe(void **state)
{ /* MQTT 5.0, section 4.8.2 */
    struct fixture *f = *state;
    peer_publish(&f->publisher, "job", "old", 1, true);
    join(f, &f->a, "a", 1, (struct connect_options){ .worker = 1 });
    expect_nothing(&f->a);
    peer_publish(&f->publisher, "job", "", 0, true);
}

static void test_group_and_plain_subscription_each_get_the_message(void **state)
{ /* MQTT 5.0, section 4.8.2; a plain one is a subscription of its own [MQTT5-3.3.4-2] */
    struct fixture *f = *state;
    join(f, &f->a, "a", 1, (struct connect_options){ .worker = 1 });
    peer_subscribe(&f->a, "job", 1, 0);
    peer_subscribe(&f->a, "$share/other/+", 1, 0);
    publish(f, "x", 1);
    assert_int_equal(peer_unseen(&f->a), 3);
}

static void test_group_expired_message_is_dropped_from_the_queue(void **state)
{ /* [MQTT5-3.3.2-5] */
    struct fixture *f = *state;
    struct connect_options persistent = { .worker = 1, .expiry = 1000 };
    join(f, &f->a, "a", 1, persistent);
    peer_disconnect(&f->a);
    peer_feed(&f->publisher, span_of("\x32\x0d\0\3job\0\1\5\2\0\0\0\5x", 15)); /* 5 s */
    world_run(&f->world);
    publish(f, "kept", 1);
    world_pass(&f->world, 6000);
    persistent.resume = true;
    peer_connect(&f->a, &f->world, "a", &persistent);
    expect_and_ack(&f->a, "kept");
    expect_nothing(&f->a);
    peer_disconnect(&f->a);
    world_pass(&f->world, 1001000);
}

/* Members come, go, move and acknowledge at random; every QoS 1 message is acknowledged by somebody
 * in the end. */
enum { STRESS_MEMBERS = 6, STRESS_MESSAGES = 600 };

struct stress {
    struct fixture *f;
    struct peer members[STRESS_MEMBERS];
    bool done[STRESS_MESSAGES];
    uint32_t random;
};

static uint32_t chance(struct stress *s, uint32_t below)
{
    s->random = s->random * 1664525u + 1013904223u;
    return (s->random >> 16) % below;
}

static void stress_connect(struct stress *s, unsigned i)
{
    char id[8];
    (void)snprintf(id, sizeof id, "m%u", i);
    peer_connect(&s->members[i], &s->f->world, id,
                 &(struct connect_options){ .worker = chance(s, s->f->workers),
                                            .resume = true,
                                            .expiry = FOREVER,
                                            .receive_maximum = (uint16_t)(1 + chance(s, 4)) });
    if (!s->members[i].session_present)
        peer_subscribe(&s->members[i], SHARE, 1, 0);
    s->members[i].taken = s->members[i].count; /* what it had not acknowledged comes again */
}

static void stress_ack(struct stress *s, unsigned i, size_t most)
{
    const struct received *received;
    while (most-- > 0 && (received = peer_next(&s->members[i]))) {
        s->done[strtol(received->payload, NULL, 10)] = true;
        peer_ack(&s->members[i], MQTT_PUBACK, received->id, MQTT_SUCCESS);
    }
}

static void stress_step(struct stress *s)
{
    unsigned i = chance(s, STRESS_MEMBERS);
    if (!s->members[i].conn)
        stress_connect(s, i);
    else if (chance(s, 5) > 0)
        stress_ack(s, i, 1 + chance(s, 3));
    else if (chance(s, 8) == 0)
        peer_unsubscribe(&s->members[i], SHARE), peer_subscribe(&s->members[i], SHARE, 1, 0);
    else if (chance(s, 2) == 0)
        peer_lose(&s->members[i]);
    else
        peer_disconnect(&s->members[i]);
}

static void test_group_loses_nothing_while_members_come_and_go(void **state)
{
    static struct stress s;
    s = (struct stress){ .f = *state, .random = 12345 };
    for (unsigned i = 0; i < STRESS_MEMBERS; i++)
        stress_connect(&s, i);
    for (int n = 0; n < STRESS_MESSAGES; n++) {
        char payload[8];
        (void)snprintf(payload, sizeof payload, "%d", n);
        publish(s.f, payload, 1);
        stress_step(&s);
        stress_step(&s);
    }
    for (unsigned i = 0; i < STRESS_MEMBERS; i++)
        if (!s.members[i].conn)
            stress_connect(&s, i);
    for (bool more = true; more;) {
        more = false;
        for (unsigned i = 0; i < STRESS_MEMBERS; i++) {
            more |= peer_unseen(&s.members[i]) > 0;
            stress_ack(&s, i, 100);
        }
    }
    for (int n = 0; n < STRESS_MESSAGES; n++)
        assert_true(s.done[n]);
    for (unsigned i = 0; i < STRESS_MEMBERS; i++)
        peer_done(&s.members[i]);
}

/* The same with a thread a worker, and the sessions move about: takeovers included. */
enum { THREADS = 3, THREAD_PEERS = 2, THREAD_STEPS = 3000, CLIENTS = 5 };

struct actor {
    struct world *world;
    pthread_barrier_t *step; /* all threads go on together, else one is through before the next */
    unsigned index;
    uint32_t random;
    struct peer publisher, members[THREAD_PEERS];
    bool done[THREADS * THREAD_STEPS]; /* acknowledged here */
};

static uint32_t actor_chance(struct actor *actor, uint32_t below)
{
    actor->random = actor->random * 1664525u + 1013904223u;
    return (actor->random >> 16) % below;
}

static void actor_connect(struct actor *actor, struct peer *peer)
{
    char id[8];
    (void)snprintf(id, sizeof id, "m%u", actor_chance(actor, CLIENTS));
    peer_connect(
        peer, actor->world, id,
        &(struct connect_options){ .worker = actor->index,
                                   .resume = true,
                                   .expiry = FOREVER,
                                   .receive_maximum = (uint16_t)(1 + actor_chance(actor, 4)) });
    peer->taken = peer->count;
    peer_subscribe(peer, SHARE, 1, 0);
}

static void actor_member(struct actor *actor, struct peer *peer)
{
    const struct received *received;
    if (peer->closing) /* taken over */
        peer_lose(peer);
    if (!peer->conn) {
        actor_connect(actor, peer);
        return;
    }
    uint32_t dice = actor_chance(actor, 100);
    if (dice < 1)
        peer_lose(peer);
    else if (dice < 2)
        peer_unsubscribe(peer, SHARE), peer_subscribe(peer, SHARE, 1, 0);
    else
        while (!peer->closing && (received = peer_next(peer))) {
            actor->done[strtol(received->payload, NULL, 10)] = true;
            peer_ack(peer, MQTT_PUBACK, received->id, MQTT_SUCCESS);
        }
}

static void *act(void *ctx)
{
    struct actor *actor = ctx;
    struct world *world = actor->world;
    struct worker *worker = broker_worker(world->broker, actor->index);
    for (unsigned step = 0; step < THREAD_STEPS; step++) {
        char payload[16];
        if (atomic_exchange(&world->woken[actor->index], false))
            worker_receive(worker, world->now);
        (void)snprintf(payload, sizeof payload, "%u", step * THREADS + actor->index);
        peer_publish(&actor->publisher, "job", payload, 1, false);
        for (int i = 0; i < THREAD_PEERS; i++)
            actor_member(actor, &actor->members[i]);
        (void)worker_finish(worker, world->now);
        (void)pthread_barrier_wait(actor->step);
    }
    return NULL;
}

static void drain(struct world *world, struct actor *actors)
{
    static struct peer peers[CLIENTS];
    bool more = true;
    for (int i = 0; i < CLIENTS; i++) {
        char id[8];
        (void)snprintf(id, sizeof id, "m%d", i);
        peer_connect(&peers[i], world, id,
                     &(struct connect_options){ .resume = true, .expiry = FOREVER });
        peer_subscribe(&peers[i], SHARE, 1, 0);
    }
    while (more) {
        const struct received *received;
        more = false;
        for (int i = 0; i < CLIENTS; i++)
            while ((received = peer_next(&peers[i]))) {
                more = true;
                actors[0].done[strtol(received->payload, NULL, 10)] = true;
                peer_ack(&peers[i], MQTT_PUBACK, received->id, MQTT_SUCCESS);
            }
    }
    for (int i = 0; i < CLIENTS; i++)
        peer_done(&peers[i]);
}

static void test_group_loses_nothing_across_threads_and_takeovers(void **state)
{
    static struct actor actors[THREADS];
    struct fixture *f = *state;
    pthread_t threads[THREADS];
    pthread_barrier_t step;
    uint64_t takeovers = 0;
    assert_int_equal(pthread_barrier_init(&step, NULL, THREADS), 0);
    join(f, &f->a, "keeper", 1, (struct connect_options){ .expiry = FOREVER });
    peer_disconnect(&f->a); /* so that the group is never without a member that waits */
    for (unsigned i = 0; i < THREADS; i++) {
        char id[8];
        actors[i] = (struct actor){
            .world = &f->world, .step = &step, .index = i, .random = i + 1
        };
        (void)snprintf(id, sizeof id, "p%u", i);
        peer_connect(&actors[i].publisher, &f->world, id, &(struct connect_options){ .worker = i });
    }
    f->world.threaded = true;
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, act, &actors[i]), 0);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    f->world.threaded = false;
    for (unsigned i = 0; i < THREADS; i++) {
        peer_done(&actors[i].publisher);
        for (int m = 0; m < THREAD_PEERS; m++)
            peer_done(&actors[i].members[m]);
    }
    for (unsigned i = 0; i < THREADS; i++)
        takeovers += atomic_load(&broker_worker(f->world.broker, i)->stats.takeovers);
    assert_true(takeovers > 20); /* else it tests nothing */
    drain(&f->world, actors);
    pthread_barrier_destroy(&step);
    for (unsigned n = 0; n < THREADS * THREAD_STEPS; n++) {
        bool done = false;
        for (unsigned i = 0; i < THREADS; i++)
            done |= actors[i].done[n];
        assert_true(done);
    }
}

#define BOTH(name)                                                                                 \
    cmocka_unit_test_setup_teardown(name, one_worker, tear_down),                                  \
        cmocka_unit_test_setup_teardown(name, three_workers, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_group_hands_out_in_turn),
        BOTH(test_group_respects_granted_qos_of_each_member),
        BOTH(test_group_resubscribing_changes_the_terms),
        BOTH(test_group_full_member_is_passed_over_and_queue_keeps_order),
        BOTH(test_group_member_full_of_other_messages_is_passed_over),
        BOTH(test_group_member_full_of_another_groups_messages_is_passed_over),
        BOTH(test_group_member_that_comes_back_has_less_room),
        BOTH(test_group_full_member_is_still_somebody_to_wait_for),
        BOTH(test_group_unacknowledged_qos1_goes_to_another_member_in_order),
        BOTH(test_group_qos2_that_has_begun_stays_with_its_session),
        BOTH(test_group_qos2_that_has_begun_ends_with_its_session),
        BOTH(test_group_refused_message_is_not_sent_to_another),
        BOTH(test_group_waits_for_a_persistent_member),
        BOTH(test_group_another_member_takes_what_waits_for_an_offline_one),
        BOTH(test_group_ends_with_its_last_member),
        BOTH(test_group_acknowledgement_after_unsubscribe_is_taken),
        BOTH(test_group_qos0_uses_and_frees_places),
        BOTH(test_group_retain_flag_is_the_members_choice),
        BOTH(test_group_retained_message_is_not_sent_on_subscribe),
        BOTH(test_group_and_plain_subscription_each_get_the_message),
        BOTH(test_group_expired_message_is_dropped_from_the_queue),
        BOTH(test_group_loses_nothing_while_members_come_and_go),
        cmocka_unit_test_setup_teardown(test_group_loses_nothing_across_threads_and_takeovers,
                                        threads, tear_down),
        cmocka_unit_test_setup_teardown(test_group_queue_is_bounded, small_queue, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
