/* SPDX-License-Identifier: MIT */
/*
 * A shared group in random orders, each from a seed that is printed when it fails: members on three
 * workers come, go, are taken over, leave the group and join it again, acknowledge, refuse or do
 * neither, while publishers on all workers publish at every QoS. One thread, so that every order can
 * be had again. The test keeps a book of who has had which message; connections are told apart by
 * their number, never by their address.
 */
#include "broker/conn_state.h"
#include "broker/group_state.h"
#include "tests/broker/support/chance.h"
#include "tests/broker/support/fault_store.h"
#include "tests/broker/support/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum {
    WORKERS = 3,
    SEEDS = 60,
    ACTIONS = 500,
    PUBLISHERS = WORKERS,
    MEMBERS = 5,
    STAYERS = 3,         /* the first of them: their sessions outlive their connections */
    SEATS = 2 * MEMBERS, /* two connections a member: one takes over the other */
    JOBS = 1024,
    EXPIRY = 3600,
};

#define OPTIONS "listener 1883\nallow_anonymous true\nsys_interval 0\n"
#define SHARE   "$share/g/t"

static const char *const names[MEMBERS] = { "m0", "m1", "m2", "guest0", "guest1" };

/* A message, and who has had it last. */
struct job {
    uint8_t qos;
    bool had;       /* by anybody */
    bool released;  /* QoS 2: the broker has taken PUBREC */
    bool done;      /* the broker knows that it is done, or refused */
    unsigned seat;  /* who has had it last */
    unsigned visit; /* and on which connection */
};

struct seat {
    struct peer peer;
    unsigned visit;               /* the number of its connection */
    size_t answered;              /* of peer.publishes */
    unsigned last[PUBLISHERS][3]; /* by QoS: number + 1 of the newest one that came */
};

struct release { /* PUBREC has been taken, PUBCOMP is still to be sent */
    uint16_t id, job;
};

struct team {
    struct world world;
    struct chance chance;
    bool constant;             /* nobody comes, nobody goes */
    struct fault_store *store; /* NULL: the memory store */
    struct peer publishers[PUBLISHERS];
    struct seat seats[SEATS];
    struct job jobs[JOBS];
    struct release releases[MEMBERS][JOBS];
    unsigned release_count[MEMBERS];
    unsigned published, visits;
};

static unsigned pick(struct team *team, unsigned choices)
{
    return chance_pick(&team->chance, choices);
}

static unsigned member_of(unsigned seat)
{
    return seat % MEMBERS;
}

static bool is_stayer(unsigned seat)
{
    return member_of(seat) < STAYERS;
}

/* Whether the broker still takes what comes from this seat. */
static bool is_served(const struct seat *seat)
{
    return seat->peer.conn && seat->peer.conn->session;
}

/* ---- coming and going ---- */

static void sit_down(struct team *team, unsigned i)
{
    struct seat *seat = &team->seats[i];
    if (seat->peer.conn)
        return;
    peer_done(&seat->peer);
    peer_connect(&seat->peer, &team->world, names[member_of(i)],
                 &(struct connect_options){ .worker = pick(team, WORKERS),
                                            .resume = true,
                                            .expiry = is_stayer(i) ? EXPIRY : 0,
                                            .receive_maximum = (uint16_t)(1 + pick(team, 5)) });
    if (!is_stayer(i)) { /* a new session each time */
        peer_subscribe(&seat->peer, SHARE, 2, 0);
        team->release_count[member_of(i)] = 0;
    }
    seat->visit = ++team->visits;
    seat->answered = 0;
    memset(seat->last, 0, sizeof seat->last);
}

static void stand_up(struct team *team, struct seat *seat)
{
    if (!seat->peer.conn || seat->peer.closing)
        return;
    if (pick(team, 2) == 0)
        peer_lose(&seat->peer);
    else
        peer_feed(&seat->peer, span_of("\xe0\0", 2)); /* DISCONNECT */
}

/* Leaves the group and joins it again, with nothing in between. The first one never does, so that
 * the group is never without a session that waits for its client. */
static void change_mind(struct team *team, unsigned i)
{
    struct seat *seat = &team->seats[i];
    if (member_of(i) == 0 || !is_served(seat))
        return;
    peer_unsubscribe(&seat->peer, SHARE);
    peer_subscribe(&seat->peer, SHARE, 2, 0);
}

/* What the transport does after a turn. */
static void close_asked(struct team *team)
{
    for (unsigned i = 0; i < SEATS; i++)
        if (team->seats[i].peer.conn && team->seats[i].peer.closing)
            peer_lose(&team->seats[i].peer);
}

/* ---- the work ---- */

static void publish(struct team *team)
{
    char payload[32];
    unsigned from = pick(team, PUBLISHERS), number = team->published;
    if (number == JOBS)
        return;
    team->published++;
    team->jobs[number] = (struct job){ .qos = (uint8_t)pick(team, 3) };
    snprintf(payload, sizeof payload, "%u %u", from, number);
    peer_publish(&team->publishers[from], "t", payload, team->jobs[number].qos, false);
}

static struct job *job_of(struct team *team, const struct received *received, unsigned *ret_from)
{
    unsigned number;
    assert_int_equal(sscanf(received->payload, "%u %u", ret_from, &number), 2);
    assert_true(number < team->published);
    return &team->jobs[number];
}

/* While nobody comes or goes, a member has what one publisher sent at one QoS in order. */
static void check_order(struct team *team, struct seat *seat, unsigned from, const struct job *job)
{
    unsigned number = (unsigned)(job - team->jobs), *last = &seat->last[from][job->qos];
    assert_true(number + 1 > *last);
    *last = number + 1;
}

/* Whether this one may have it now, which nobody is done with: at QoS 1 whoever had it before is
 * gone; at QoS 2 only the session that had it before may have it again. */
static void check_claim(const struct team *team, const struct job *job, unsigned i,
                        const struct received *received)
{
    const struct seat *before = &team->seats[job->seat];
    assert_int_equal(received->qos, job->qos);
    assert_false(job->done);
    if (!job->had) {
        assert_false(received->dup);
        return;
    }
    bool still_there = before->visit == job->visit && is_served(before);
    assert_false(still_there);
    assert_int_not_equal(job->qos, 0);
    if (job->qos == 1) {
        assert_false(received->dup); /* the first time for this client */
        return;
    }
    assert_true(received->dup && !job->released);
    assert_true(is_stayer(i) && member_of(job->seat) == member_of(i));
}

static void receive(struct team *team, unsigned i)
{
    struct seat *seat = &team->seats[i];
    const struct received *received = peer_next(&seat->peer);
    unsigned from;
    struct job *job = job_of(team, received, &from);
    check_claim(team, job, i, received);
    if (team->constant)
        check_order(team, seat, from, job);
    job->had = true;
    job->seat = i;
    job->visit = seat->visit;
    job->done = job->qos == 0;
}

/* What has come since, in the order in which the broker has written it. */
static void receive_all(struct team *team)
{
    for (;;) {
        const struct received *first = NULL;
        unsigned at = 0;
        for (unsigned i = 0; i < SEATS; i++) {
            const struct peer *peer = &team->seats[i].peer;
            const struct received *next = &peer->publishes[peer->taken];
            if (peer->taken < peer->count && (!first || next->order < first->order)) {
                first = next;
                at = i;
            }
        }
        if (!first)
            return;
        receive(team, at);
    }
}

/* The next step of the oldest message of this seat: PUBACK or PUBREC, which may be a refusal. */
static void answer(struct team *team, unsigned i)
{
    struct seat *seat = &team->seats[i];
    unsigned from, member = member_of(i);
    while (seat->answered < seat->peer.taken && seat->peer.publishes[seat->answered].qos == 0)
        seat->answered++;
    if (!seat->peer.conn || seat->answered == seat->peer.taken)
        return;
    const struct received *received = &seat->peer.publishes[seat->answered++];
    struct job *job = job_of(team, received, &from);
    bool refused = pick(team, 10) == 0;
    if (is_served(seat)) {
        job->released = true;
        job->done = job->qos == 1 || refused;
        if (!job->done)
            team->releases[member][team->release_count[member]++] = (struct release){
                .id = received->id, .job = (uint16_t)(job - team->jobs)
            };
    }
    peer_ack(&seat->peer, job->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, received->id,
             refused ? MQTT_UNSPECIFIED_ERROR : MQTT_SUCCESS);
}

/* PUBCOMP, on whatever connection the member has now. */
static void complete(struct team *team, unsigned i)
{
    struct seat *seat = &team->seats[i];
    unsigned member = member_of(i);
    if (!is_served(seat) || !team->release_count[member])
        return;
    struct release *releases = team->releases[member];
    unsigned at = pick(team, team->release_count[member]);
    struct release release = releases[at];
    releases[at] = releases[--team->release_count[member]];
    team->jobs[release.job].done = true;
    peer_ack(&seat->peer, MQTT_PUBCOMP, release.id, MQTT_SUCCESS);
}

/* Some of what a worker has given to the store is durable. */
static void commit(struct team *team, unsigned worker)
{
    const struct fault_lane *lane = &team->store->lanes[worker];
    unsigned waiting = (unsigned)(lane->submitted - lane->finished);
    if (waiting)
        fault_store_complete(team->store, worker, lane->finished + 1 + pick(team, waiting));
}

static void act(struct team *team)
{
    unsigned seat = pick(team, SEATS);
    if (team->store && pick(team, 6) == 0)
        commit(team, pick(team, WORKERS));
    switch (pick(team, 12)) {
    case 0:
        if (!team->constant && pick(team, 2) == 0)
            sit_down(team, seat);
        break;
    case 1:
        if (!team->constant && pick(team, 3) == 0)
            stand_up(team, &team->seats[seat]);
        break;
    case 2:
        if (!team->constant && pick(team, 6) == 0)
            change_mind(team, seat);
        break;
    case 3:
    case 4: publish(team); break;
    case 5:
    case 6: answer(team, seat); break;
    case 7: complete(team, seat); break;
    default: (void)world_turn(&team->world, pick(team, WORKERS));
    }
    receive_all(team);
    close_asked(team);
}

/* ---- from the beginning to the end ---- */

static void settle(struct team *team)
{
    world_run(&team->world);
    receive_all(team);
    close_asked(team);
}

static void who_is_away_comes_back(struct team *team)
{
    settle(team); /* connections that were under way are through, or closed */
    for (unsigned i = 0; i < STAYERS; i++)
        if (!team->seats[i].peer.conn && !team->seats[i + MEMBERS].peer.conn)
            sit_down(team, i);
}

static void work_until_nothing_is_left(struct team *team)
{
    for (unsigned round = 0; round < 4 * JOBS; round++) {
        settle(team);
        for (unsigned i = 0; i < SEATS; i++) {
            answer(team, i);
            complete(team, i);
        }
    }
}

/* A message at QoS 2 that a guest has had goes with its session [MQTT5-4.8.2-5]. */
static bool went_with_its_session(const struct team *team, const struct job *job)
{
    const struct seat *seat = &team->seats[job->seat];
    return job->qos == 2 && job->had && !is_stayer(job->seat) &&
           (seat->visit != job->visit || !is_served(seat));
}

static void check_jobs(const struct team *team)
{
    for (unsigned i = 0; i < team->published; i++) {
        const struct job *job = &team->jobs[i];
        assert_true(job->done || went_with_its_session(team, job) ||
                    (job->qos == 0 && !team->constant)); /* nobody was there */
    }
}

static void begin(struct team *team, unsigned seed)
{
    static const char *const publishers[PUBLISHERS] = { "p0", "p1", "p2" };
    team->chance = chance_of(seed);
    if (team->store)
        team->store->holding = false; /* until everybody has come */
    world_init_with(&team->world, WORKERS, OPTIONS, team->store ? &team->store->store : NULL);
    if (team->store)
        team->store->broker = team->world.broker;
    for (unsigned i = 0; i < PUBLISHERS; i++)
        peer_connect(&team->publishers[i], &team->world, publishers[i],
                     &(struct connect_options){ .worker = i });
    for (unsigned i = 0; i < MEMBERS; i++) {
        sit_down(team, i);
        if (is_stayer(i))
            peer_subscribe(&team->seats[i].peer, SHARE, 2, 0);
    }
    team->world.threaded = true; /* from now on only act() turns workers */
    if (team->store)
        team->store->holding = true;
}

static void end(struct team *team)
{
    for (unsigned i = 0; i < SEATS; i++)
        peer_done(&team->seats[i].peer);
    for (unsigned i = 0; i < PUBLISHERS; i++)
        peer_done(&team->publishers[i]);
    team->world.threaded = false;
    world_pass(&team->world, (EXPIRY + 1) * 1000);
    assert_int_equal(team->world.broker->groups->count, 0);
    assert_int_equal(session_table_count(team->world.broker->table), 0);
    world_done(&team->world);
    if (team->store)
        fault_store_free(team->store);
    free(team);
}

static void run(unsigned seed, bool constant, struct fault_store *store)
{
    struct team *team = calloc(1, sizeof *team);
    assert_non_null(team);
    print_message("seed %u\r", seed);
    team->constant = constant;
    team->store = store;
    begin(team, seed);
    for (unsigned i = 0; i < ACTIONS; i++)
        act(team);
    if (store)
        fault_store_go_on(store);
    who_is_away_comes_back(team);
    work_until_nothing_is_left(team);
    check_jobs(team);
    end(team);
}

static void test_group_in_any_order_has_each_message_done_by_one(void **state)
{ /* [MQTT5-4.8.2-4] [MQTT5-4.8.2-5] [MQTT5-4.8.2-6] */
    (void)state;
    for (unsigned seed = 0; seed < SEEDS; seed++)
        run(seed, false, NULL);
}

static void test_group_in_any_order_with_a_late_store_has_each_message_done_by_one(void **state)
{ /* [MQTT5-4.8.2-4] [MQTT5-4.8.2-5] [MQTT5-4.8.2-6] */
    (void)state;
    for (unsigned seed = 0; seed < SEEDS; seed++)
        run(seed, false, fault_store_new());
}

static void test_group_whose_members_stay_keeps_the_order_for_each_of_them(void **state)
{ /* [MQTT5-4.6.0-6] */
    (void)state;
    for (unsigned seed = 0; seed < SEEDS; seed++)
        run(seed, true, NULL);
}

static void test_group_whose_members_stay_keeps_the_order_with_a_late_store_too(void **state)
{ /* [MQTT5-4.6.0-6] */
    (void)state;
    for (unsigned seed = 0; seed < SEEDS; seed++)
        run(seed, true, fault_store_new());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_group_in_any_order_has_each_message_done_by_one),
        cmocka_unit_test(test_group_in_any_order_with_a_late_store_has_each_message_done_by_one),
        cmocka_unit_test(test_group_whose_members_stay_keeps_the_order_for_each_of_them),
        cmocka_unit_test(test_group_whose_members_stay_keeps_the_order_with_a_late_store_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
