/* SPDX-License-Identifier: MIT */
/*
 * The timer wheel (broker/wheel.h) with a hand-turned clock: when timers fire, in which order, and what callbacks may do. A
 * model with pseudo-random operations checks every firing. One thread.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "broker/containers.h"
#include "broker/wheel.h"

#define SECOND UINT64_C(1000)
#define WEEK   (7 * 24 * 3600 * SECOND)

enum { LOG_MAX = 4096 };

/* What the timers of a test have in common. */
struct scene {
    struct wheel wheel;
    size_t fired;
    int log[LOG_MAX]; /* which, in order */
};

struct probe {
    struct scene *scene;
    struct timer timer;
    int id;
    struct probe *other; /* what the callback acts on */
    uint64_t due;        /* what it sets it to */
};

static struct scene *scene_new(uint64_t now)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    wheel_init(&scene->wheel, now);
    return scene;
}

static void on_fire(struct timer *timer, uint64_t now)
{
    struct probe *probe = CONTAINER_OF(timer, struct probe, timer);
    assert_false(timer_armed(timer));
    assert_true(timer->due <= now);
    assert_true(probe->scene->fired < LOG_MAX);
    probe->scene->log[probe->scene->fired++] = probe->id;
}

static void on_fire_cancel_other(struct timer *timer, uint64_t now)
{
    on_fire(timer, now);
    wheel_cancel(&CONTAINER_OF(timer, struct probe, timer)->other->timer);
}

static void on_fire_set_other(struct timer *timer, uint64_t now)
{
    struct probe *probe = CONTAINER_OF(timer, struct probe, timer);
    on_fire(timer, now);
    wheel_set(&probe->scene->wheel, &probe->other->timer, probe->due);
}

static struct probe probe(struct scene *scene, int id, timer_fn *fire)
{
    return (struct probe){ .scene = scene, .id = id, .timer = { .fire = fire } };
}

static void expect_log(const struct scene *scene, const int *ids, size_t count)
{
    assert_int_equal(scene->fired, count);
    assert_memory_equal(scene->log, ids, count * sizeof(*ids));
}

/* ------------------------------------------------------------------------------------------- */

static void test_wheel_fires_on_time_never_early(void **state)
{
    (void)state;
    static const uint64_t delays[] = { 1,         99,          100,          101,         6399,
                                       6400,      6401,        7000,         10 * SECOND, 409599,
                                       409600,    500000,      WEEK - 1,     WEEK,        WEEK + 1,
                                       52 * WEEK, 3000 * WEEK, 500000 * WEEK };
    static const uint64_t starts[] = { 0, 1, 6399, 409599, UINT64_C(1764000000123) };
    for (size_t s = 0; s < sizeof(starts) / sizeof(starts[0]); s++) {
        for (size_t d = 0; d < sizeof(delays) / sizeof(delays[0]); d++) {
            struct scene *scene = scene_new(starts[s]);
            struct probe one = probe(scene, 1, on_fire);
            uint64_t due = starts[s] + delays[d];
            wheel_set(&scene->wheel, &one.timer, due);
            assert_true(timer_armed(&one.timer));
            assert_int_equal(wheel_advance(&scene->wheel, due - 1), 0);
            assert_true(wheel_next(&scene->wheel) < due + WHEEL_TICK_MS);
            assert_int_equal(wheel_advance(&scene->wheel, due + WHEEL_TICK_MS - 1), 1);
            assert_int_equal(scene->fired, 1);
            assert_int_equal(wheel_next(&scene->wheel), UINT64_MAX);
            free(scene);
        }
    }
}

/* Following wheel_next() alone leads to the timer, in few steps, and no timer is late. */
static void test_wheel_next_leads_to_every_timer(void **state)
{
    (void)state;
    static const uint64_t dues[] = {
        150, 6500, 6501, 90 * SECOND, 3600 * SECOND, WEEK, 100 * WEEK
    };
    enum { DUES = sizeof(dues) / sizeof(dues[0]) };
    struct scene *scene = scene_new(0);
    struct probe probes[DUES];
    for (int i = 0; i < DUES; i++) {
        probes[i] = probe(scene, i, on_fire);
        wheel_set(&scene->wheel, &probes[i].timer, dues[i]);
    }
    int steps = 0;
    for (uint64_t now; (now = wheel_next(&scene->wheel)) != UINT64_MAX; steps++) {
        wheel_advance(&scene->wheel, now);
        for (int i = 0; i < DUES; i++)
            assert_int_equal(timer_armed(&probes[i].timer), dues[i] > now);
    }
    assert_true(steps < 40);
    static const int order[] = { 0, 1, 2, 3, 4, 5, 6 };
    expect_log(scene, order, DUES);
    free(scene);
}

static void test_wheel_already_due_fires_at_next_advance(void **state)
{
    (void)state;
    struct scene *scene = scene_new(100 * SECOND);
    struct probe now = probe(scene, 1, on_fire);
    struct probe long_ago = probe(scene, 2, on_fire);
    wheel_set(&scene->wheel, &now.timer, 100 * SECOND);
    assert_true(wheel_next(&scene->wheel) <= 100 * SECOND);
    wheel_set(&scene->wheel, &long_ago.timer, 0);
    assert_int_equal(wheel_advance(&scene->wheel, 100 * SECOND), 2);
    assert_int_equal(wheel_advance(&scene->wheel, 100 * SECOND), 0);
    free(scene);
}

static void test_wheel_never_means_never(void **state)
{
    (void)state;
    struct scene *scene = scene_new(0);
    struct probe never = probe(scene, 1, on_fire);
    wheel_set(&scene->wheel, &never.timer, UINT64_MAX);
    assert_int_equal(wheel_advance(&scene->wheel, 5000000 * WEEK), 0);
    assert_true(wheel_next(&scene->wheel) > 5000000 * WEEK);
    wheel_cancel(&never.timer);
    assert_int_equal(wheel_next(&scene->wheel), UINT64_MAX);
    free(scene);
}

static void test_wheel_set_again_moves(void **state)
{
    (void)state;
    struct scene *scene = scene_new(0);
    struct probe one = probe(scene, 1, on_fire);
    wheel_set(&scene->wheel, &one.timer, 5 * SECOND);
    wheel_set(&scene->wheel, &one.timer, 90 * SECOND);
    assert_int_equal(wheel_advance(&scene->wheel, 89 * SECOND), 0);
    wheel_set(&scene->wheel, &one.timer, 90 * SECOND);
    assert_int_equal(wheel_advance(&scene->wheel, 90 * SECOND), 1);
    wheel_cancel(&one.timer); /* not armed: nothing happens */
    assert_int_equal(wheel_advance(&scene->wheel, WEEK), 0);
    free(scene);
}

static void test_wheel_week_in_one_jump_fires_in_order(void **state)
{
    (void)state;
    enum { MANY = 4000 };
    struct scene *scene = scene_new(UINT64_C(1764000000000));
    struct probe *probes = calloc(MANY, sizeof(*probes));
    for (int i = 0; i < MANY; i++) {
        int at = i * 1237 % MANY; /* each once, out of order */
        probes[at] = probe(scene, at, on_fire);
        wheel_set(&scene->wheel, &probes[at].timer,
                  UINT64_C(1764000000000) + (uint64_t)at * (WEEK / MANY));
    }
    assert_int_equal(wheel_advance(&scene->wheel, UINT64_C(1764000000000) + WEEK), MANY);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(scene->log[i], i);
    free(probes);
    free(scene);
}

/* ---- callbacks that change the wheel ---- */

static void test_wheel_callback_cancels_one_of_the_same_tick(void **state)
{
    (void)state;
    struct scene *scene = scene_new(0);
    struct probe a = probe(scene, 1, on_fire_cancel_other);
    struct probe b = probe(scene, 2, on_fire_cancel_other);
    a.other = &b;
    b.other = &a;
    for (uint64_t now = 0; now <= SECOND; now += SECOND) { /* overdue, and from a slot */
        scene->fired = 0;
        wheel_set(&scene->wheel, &a.timer, now);
        wheel_set(&scene->wheel, &b.timer, now);
        assert_int_equal(wheel_advance(&scene->wheel, now),
                         1); /* whichever comes first stops the other */
        assert_false(timer_armed(&a.timer));
        assert_false(timer_armed(&b.timer));
    }
    free(scene);
}

static void test_wheel_callback_sets_between_tick_and_now(void **state)
{
    (void)state;
    struct scene *scene = scene_new(0);
    struct probe a = probe(scene, 1, on_fire_set_other);
    struct probe b = probe(scene, 2, on_fire);
    struct probe c = probe(scene, 3, on_fire);
    a.other = &c;
    a.due = 20 * SECOND;
    wheel_set(&scene->wheel, &a.timer, 10 * SECOND);
    wheel_set(&scene->wheel, &b.timer, 30 * SECOND);
    wheel_set(&scene->wheel, &c.timer, WEEK);
    assert_int_equal(wheel_advance(&scene->wheel, 60 * SECOND), 3);
    static const int order[] = { 1, 3, 2 };
    expect_log(scene, order, 3);
    free(scene);
}

/* One that sets itself to the past must not keep wheel_advance() busy for ever. */
static void test_wheel_callback_sets_itself_overdue(void **state)
{
    (void)state;
    struct scene *scene = scene_new(0);
    struct probe a = probe(scene, 1, on_fire_set_other);
    a.other = &a;
    a.due = 0;
    wheel_set(&scene->wheel, &a.timer, 10 * SECOND);
    assert_int_equal(wheel_advance(&scene->wheel, 60 * SECOND), 1);
    assert_true(wheel_next(&scene->wheel) <= 60 * SECOND);
    assert_int_equal(wheel_advance(&scene->wheel, 60 * SECOND), 1);
    wheel_cancel(&a.timer);
    assert_int_equal(wheel_advance(&scene->wheel, 60 * SECOND), 0);
    free(scene);
}

static void on_fire_free(struct timer *timer, uint64_t now)
{
    on_fire(timer, now);
    free(CONTAINER_OF(timer, struct probe, timer));
}

static void test_wheel_callback_frees_its_timer(void **state)
{
    (void)state;
    struct scene *scene = scene_new(0);
    for (int i = 0; i < 10; i++) {
        struct probe *mine = malloc(sizeof(*mine));
        *mine = probe(scene, i, on_fire_free);
        wheel_set(&scene->wheel, &mine->timer, SECOND);
    }
    assert_int_equal(wheel_advance(&scene->wheel, SECOND), 10);
    free(scene);
}

/* ---- the model ---- */

enum { ACTORS = 300 };

struct actor {
    struct world *world;
    struct timer timer;
    bool armed;
    uint64_t due;
};

struct world {
    struct wheel wheel;
    uint64_t random;
    uint64_t before, now; /* of the wheel_advance() that runs */
    uint64_t last;        /* tick of the last firing in it */
    size_t fired;
    struct actor actors[ACTORS];
};

static uint64_t next_random(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Any magnitude from 1 ms to a year. */
static uint64_t random_delay(uint64_t *random)
{
    return next_random(random) % (UINT64_C(1) << (1 + next_random(random) % 35));
}

static void random_change(struct world *world, uint64_t around)
{
    struct actor *actor = &world->actors[next_random(&world->random) % ACTORS];
    if (next_random(&world->random) % 4 == 0) {
        wheel_cancel(&actor->timer);
        actor->armed = false;
        return;
    }
    actor->due = around + random_delay(&world->random);
    if (next_random(&world->random) % 16 == 0)
        actor->due = around - random_delay(&world->random) % (around + 1);
    wheel_set(&world->wheel, &actor->timer, actor->due);
    actor->armed = true;
}

static void on_actor(struct timer *timer, uint64_t now)
{
    struct actor *actor = CONTAINER_OF(timer, struct actor, timer);
    struct world *world = actor->world;
    assert_true(actor->armed);
    assert_int_equal(actor->due, timer->due);
    assert_int_equal(now, world->now);
    assert_true(actor->due <= now);
    uint64_t tick = (actor->due + WHEEL_TICK_MS - 1) / WHEEL_TICK_MS;
    if (tick > world->before / WHEEL_TICK_MS) { /* else overdue: those come first, in any order */
        assert_true(tick >= world->last);
        world->last = tick;
    } else {
        assert_int_equal(world->last, 0);
    }
    actor->armed = false;
    world->fired++;
    if (next_random(&world->random) % 2)
        random_change(world, next_random(&world->random) % 2 ? actor->due : now);
}

static void advance_and_check(struct world *world, uint64_t now)
{
    world->before = world->now;
    world->now = now;
    world->last = 0;
    world->fired = 0;
    size_t fired = wheel_advance(&world->wheel, now);
    assert_int_equal(fired, world->fired);
    uint64_t first = UINT64_MAX;
    for (int i = 0; i < ACTORS; i++) {
        assert_int_equal(timer_armed(&world->actors[i].timer), world->actors[i].armed);
        if (world->actors[i].armed && world->actors[i].due < first)
            first = world->actors[i].due;
    }
    if (first == UINT64_MAX)
        assert_int_equal(wheel_next(&world->wheel), UINT64_MAX);
    else
        assert_true(wheel_next(&world->wheel) < first + WHEEL_TICK_MS ||
                    wheel_next(&world->wheel) <= now);
}

/* Without callbacks' changes in between, nothing that is due a tick ago may still be armed. */
static void check_nothing_late(struct world *world)
{
    advance_and_check(world, world->now); /* what callbacks set to the past */
    advance_and_check(world, world->now);
    while (world->fired)
        advance_and_check(world, world->now);
    for (int i = 0; i < ACTORS; i++)
        assert_true(!world->actors[i].armed || world->actors[i].due + WHEEL_TICK_MS > world->now);
}

static void test_wheel_behaves_as_its_model(void **state)
{
    (void)state;
    struct world *world = malloc(sizeof(*world));
    for (uint64_t seed = 1; seed <= 8; seed++) {
        *world = (struct world){ .random = seed, .now = seed % 2 ? 0 : UINT64_C(1764000000000) };
        wheel_init(&world->wheel, world->now);
        for (int i = 0; i < ACTORS; i++)
            world->actors[i] = (struct actor){ .world = world, .timer.fire = on_actor };
        for (int round = 0; round < 4000; round++) {
            for (uint64_t changes = next_random(&world->random) % 8; changes > 0; changes--)
                random_change(world, world->now);
            uint64_t next = wheel_next(&world->wheel);
            bool follow = next_random(&world->random) % 2 && next != UINT64_MAX &&
                          next > world->now;
            advance_and_check(world, follow ? next : world->now + random_delay(&world->random) / 8);
            if (round % 16 == 0)
                check_nothing_late(world);
        }
    }
    free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wheel_fires_on_time_never_early),
        cmocka_unit_test(test_wheel_next_leads_to_every_timer),
        cmocka_unit_test(test_wheel_already_due_fires_at_next_advance),
        cmocka_unit_test(test_wheel_never_means_never),
        cmocka_unit_test(test_wheel_set_again_moves),
        cmocka_unit_test(test_wheel_week_in_one_jump_fires_in_order),
        cmocka_unit_test(test_wheel_callback_cancels_one_of_the_same_tick),
        cmocka_unit_test(test_wheel_callback_sets_between_tick_and_now),
        cmocka_unit_test(test_wheel_callback_sets_itself_overdue),
        cmocka_unit_test(test_wheel_callback_frees_its_timer),
        cmocka_unit_test(test_wheel_behaves_as_its_model),
    };
    return cmocka_run_group_tests_name("wheel", tests, NULL, NULL);
}
