/* SPDX-License-Identifier: MIT */
/* See conversation.h. One broker a conversation, in the test's own thread. */
#include "tests/broker/support/conversation.h"

#include "broker/auth/access.h"
#include "broker/auth/jwt.h"
#include "broker/auth/password_file.h"
#include "broker/auth/pool.h"
#include "broker/config.h"
#include "broker/conn_state.h"
#include "broker/problems.h"
#include "tests/broker/support/fault_store.h"
#include "tests/broker/support/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { PEERS = 26, BYTES_MAX = 65536, CHUNK = 4096 };

struct speaker {
    struct link link;
    struct world *world;
    struct conn *conn; /* NULL: not connected */
    bool closing;      /* the broker has asked for it */
    bool closed;       /* and it has happened */
    bool unread;       /* the broker wants nothing from it now */
    bool stalled;      /* its socket takes nothing */
    unsigned worker;   /* of the next connection */
    size_t len;
    uint8_t bytes[BYTES_MAX]; /* received, not yet compared */
};

static void flush(struct link *link)
{
    struct speaker *speaker = CONTAINER_OF(link, struct speaker, link);
    size_t len;
    if (speaker->stalled)
        return;
    do {
        assert_true(speaker->len + CHUNK <= BYTES_MAX);
        len = conn_drain(speaker->conn, speaker->bytes + speaker->len, CHUNK, speaker->world->now);
        speaker->len += len;
    } while (len > 0);
}

static void close_link(struct link *link)
{
    CONTAINER_OF(link, struct speaker, link)->closing = true;
}

static void pause_link(struct link *link, bool paused)
{
    struct speaker *speaker = CONTAINER_OF(link, struct speaker, link);
    assert_true(speaker->unread != paused); /* told once */
    speaker->unread = paused;
}

static const struct link_ops ops = { .flush = flush, .close = close_link, .pause = pause_link };

struct conversation {
    struct world world;
    struct fault_store *store;         /* NULL: the memory store */
    uint64_t held_from[FAULT_WORKERS]; /* batches before the last "*hold" */
    bool held;                         /* workers are turned by lines alone */
    bool never;                        /* the store does not finish in the end */
    const struct setting *setting;
    char options[1024];
    struct speaker speakers[PEERS];
};

static void close_asked(struct conversation *talk, unsigned worker)
{
    for (unsigned i = 0; i < PEERS; i++) {
        struct speaker *speaker = &talk->speakers[i];
        if (!speaker->conn || !speaker->closing || worker_index(speaker->conn->worker) != worker)
            continue;
        flush(&speaker->link);
        conn_free(speaker->conn);
        speaker->conn = NULL;
        speaker->closed = true;
    }
}

static void settle(struct conversation *talk)
{
    world_run(&talk->world);
    for (unsigned i = 0; i < broker_worker_count(talk->world.broker); i++)
        close_asked(talk, i);
    world_run(&talk->world);
}

/* ---- bytes ---- */

struct template
{
    const char *word, *hex; /* '@' in it stands for the peer's letter */
};

static const struct template templates[] = {
    { "{311}", "10 0d 0004 'MQTT' 04 02 0000 0001 '@'" },
    { "{ok311}", "20 02 00 00" },
    { "{5}", "10 0e 0004 'MQTT' 05 02 0000 00 0001 '@'" },
    /* receive maximum 1,000, maximum packet size 2,000,000, topic alias maximum 10 */
    { "{ok5}", "20 0e 00 00 0b 21 03e8 27 001e8480 22 000a" },
};

static unsigned nibble(char c)
{
    const char *digits = "0123456789abcdef";
    const char *at = strchr(digits, c);
    if (!c || !at)
        fail_msg("'%c' is no hexadecimal digit", c);
    return (unsigned)(at - digits);
}

static size_t put(uint8_t *out, size_t len, const char *hex, char letter);

static const char *put_template(uint8_t *out, size_t *len, const char *hex, char letter)
{
    for (size_t i = 0; i < sizeof templates / sizeof *templates; i++) {
        size_t size = strlen(templates[i].word);
        if (strncmp(hex, templates[i].word, size) == 0) {
            *len = put(out, *len, templates[i].hex, letter);
            return hex + size;
        }
    }
    fail_msg("no such word: %s", hex);
    return hex;
}

static size_t put(uint8_t *out, size_t len, const char *hex, char letter)
{
    while (*hex) {
        assert_true(len < BYTES_MAX);
        if (*hex == ' ') {
            hex++;
        } else if (*hex == '\'') {
            for (hex++; *hex != '\''; hex++)
                out[len++] = (uint8_t)(*hex == '@' ? letter : *hex);
            hex++;
        } else if (*hex == '{') {
            hex = put_template(out, &len, hex, letter);
        } else {
            out[len++] = (uint8_t)(nibble(hex[0]) << 4 | nibble(hex[1]));
            hex += 2;
        }
    }
    return len;
}

/* ---- lines ---- */

static void say(struct world *world, struct speaker *speaker, const char *hex, char letter,
                const char *identity)
{
    static const struct conn_origin nowhere = { 0 };
    uint8_t *bytes = malloc(BYTES_MAX);
    assert_non_null(bytes);
    size_t len = put(bytes, 0, hex, letter);
    if (!speaker->conn) {
        struct conn_origin origin = nowhere;
        origin.listener = &world->config->listeners[0];
        origin.address = span_str("test");
        if (identity)
            origin.identity = span_str(identity);
        speaker->link.ops = &ops;
        speaker->world = world;
        speaker->closing = speaker->closed = speaker->unread = speaker->stalled = false;
        speaker->len = 0;
        speaker->conn = conn_new(broker_worker(world->broker, speaker->worker), &speaker->link,
                                 &origin, world->now);
        assert_non_null(speaker->conn);
    }
    conn_feed(speaker->conn, span_of(bytes, len), world->now);
    free(bytes);
}

static void print(const char *what, const uint8_t *bytes, size_t len)
{
    print_error("%s", what);
    for (size_t i = 0; i < len; i++)
        print_error(" %02x", bytes[i]);
    print_error("\n");
}

static void hear(struct speaker *speaker, const char *line)
{
    uint8_t *wanted = malloc(BYTES_MAX);
    assert_non_null(wanted);
    size_t len = put(wanted, 0, line + 2, line[0]);
    bool whole = len == speaker->len || (line[1] == '^' && len < speaker->len);
    bool same = whole && memcmp(wanted, speaker->bytes, len) == 0;
    if (!same) {
        print("wanted:  ", wanted, len);
        print("received:", speaker->bytes, speaker->len);
    }
    free(wanted);
    if (!same)
        fail_msg("line \"%s\" does not hold", line);
    speaker->len = 0;
}

/* ---- users ---- */

static void set_secret(struct config *config, const char *secret)
{
    struct problems problems = { 0 };
    struct listener_config *listener = &config->listeners[0];
    if (!secret)
        return;
    const struct jwt_settings settings = { .keyfile = "secret",
                                           .username_claim = "sub",
                                           .acl_claim = "acl" };
    listener->auth_jwt_keyfile = strdup("secret");
    listener->jwt = jwt_rules_parse(&settings, span_str(secret), &problems);
    assert_non_null(listener->jwt);
}

static void set_users(struct config *config, const char *users)
{
    struct problems problems = { 0 };
    struct listener_config *listener = &config->listeners[0];
    if (!users)
        return;
    listener->password_file = strdup("users");
    listener->passwords = password_file_parse(span_str(users), "users", &problems);
    problems_print(&problems, stderr);
    assert_non_null(listener->passwords);
}

static void reload(struct conversation *talk)
{
    struct problems problems = { 0 };
    char text[1024];
    snprintf(text, sizeof text, "listener 1883\n%s", talk->setting->reloaded);
    struct config *config = config_parse(text, strlen(text), "reloaded", &problems);
    problems_done(&problems);
    assert_non_null(config);
    set_users(config, talk->setting->reloaded_users);
    set_secret(config, talk->setting->reloaded_secret);
    broker_reload(talk->world.broker, config);
    config_unref(config);
}

/* What a connection is sent from now on is lost. */
static void crash(struct conversation *talk, bool all, uint64_t milliseconds)
{
    struct fault_store *next = fault_store_crash(talk->store, all);
    for (unsigned i = 0; i < PEERS; i++) {
        struct speaker *speaker = &talk->speakers[i];
        speaker->stalled = true;
        conn_free(speaker->conn);
        speaker->conn = NULL;
        speaker->len = 0;
    }
    uint64_t now = talk->world.now + milliseconds;
    world_done(&talk->world);
    fault_store_free(talk->store);
    talk->store = next;
    memset(talk->held_from, 0, sizeof talk->held_from);
    world_init_again(&talk->world, talk->setting->workers, talk->options, &next->store, now);
    set_users(talk->world.config, talk->setting->users);
    next->broker = talk->world.broker;
}

/* "=hold", "=run", "=01", "=stop", "=crash", "=login", "=reload": what happens, and who is turned
 * when. */
static void turn(struct conversation *talk, const char *what)
{
    if (strcmp(what, "hold") == 0) {
        talk->held = true;
    } else if (strcmp(what, "run") == 0) {
        talk->held = false;
    } else if (strncmp(what, "crash", 5) == 0) {
        bool all = what[5] == '+';
        crash(talk, all, strtoull(what + 5 + all, NULL, 10));
    } else if (strcmp(what, "stop") == 0) {
        broker_stop(talk->world.broker);
    } else if (strcmp(what, "login") == 0) {
        assert_true(pool_work(talk->world.broker->pool));
    } else if (strcmp(what, "reload") == 0) {
        reload(talk);
    } else {
        assert_true(talk->held);
        for (; *what; what++) {
            unsigned worker = (unsigned)(*what - '0');
            assert_true(worker < broker_worker_count(talk->world.broker));
            (void)world_turn(&talk->world, worker);
            close_asked(talk, worker);
        }
    }
}

/* "*go", "*hold", "*0", "*0 2", "*0! 2": what becomes durable or fails. */
static void keep(struct conversation *talk, const char *what)
{
    struct fault_store *store = talk->store;
    if (!store) {
        fail_msg("line \"*%s\": this conversation has no store", what);
        return; /* not reached, which not every analyzer knows */
    }
    if (strcmp(what, "go") == 0) {
        fault_store_go_on(store);
        return;
    }
    if (strcmp(what, "hold") == 0) {
        store->holding = true;
        for (unsigned i = 0; i < FAULT_WORKERS; i++)
            talk->held_from[i] = store->lanes[i].submitted;
        return;
    }
    if (strcmp(what, "never") == 0) {
        talk->never = true;
        return;
    }
    if (strcmp(what, "behind") == 0 || strcmp(what, "caught up") == 0) {
        store->behind = *what == 'b';
        for (unsigned i = 0; i < broker_worker_count(talk->world.broker); i++)
            worker_wake(broker_worker(talk->world.broker, i));
        return;
    }
    if (strcmp(what, "unread") == 0) {
        store->reading_holds = true;
        return;
    }
    if (strncmp(what, "damaged ", 8) == 0) {
        store->damaged = (unsigned)strtoul(what + 8, NULL, 10);
        return;
    }
    unsigned worker = (unsigned)(*what++ - '0');
    assert_true(worker < broker_worker_count(talk->world.broker));
    if (*what == '?') {
        fault_store_read(store, worker);
        return;
    }
    bool fails = *what == '!';
    what += fails;
    uint64_t position = *what ? talk->held_from[worker] + strtoull(what, NULL, 10)
                              : store->lanes[worker].submitted;
    if (fails)
        fault_store_fail(store, worker, position);
    else
        fault_store_complete(store, worker, position);
}

static void speak(struct conversation *talk, const char *line)
{
    assert_in_range(line[0], 'a', 'z');
    struct speaker *speaker = &talk->speakers[line[0] - 'a'];
    switch (line[1]) {
    case '>': say(&talk->world, speaker, line + 2, line[0], talk->setting->identity); break;
    case '<':
    case '^': hear(speaker, line); break;
    case '.':
        if (speaker->conn || !speaker->closed)
            fail_msg("line \"%s\": the connection is open", line);
        break;
    case '[':
    case ']':
        assert_non_null(speaker->conn);
        speaker->stalled = line[1] == '[';
        conn_choked(speaker->conn, speaker->stalled, talk->world.now);
        break;
    case '|':
    case '-':
        assert_non_null(speaker->conn);
        if (speaker->unread != (line[1] == '|'))
            fail_msg("line \"%s\" does not hold", line);
        break;
    case '!':
        assert_non_null(speaker->conn);
        conn_free(speaker->conn);
        speaker->conn = NULL;
        break;
    case '@':
        speaker->worker = (unsigned)(line[2] - '0');
        assert_true(speaker->worker < broker_worker_count(talk->world.broker));
        break;
    default: fail_msg("what is \"%s\"?", line);
    }
}

static void act(struct conversation *talk, const char *line)
{
    if (line[0] == '+')
        world_pass(&talk->world, strtoull(line + 1, NULL, 10));
    else if (line[0] == '=')
        turn(talk, line + 1);
    else if (line[0] == '*')
        keep(talk, line + 1);
    else
        speak(talk, line);
    if (!talk->held)
        settle(talk);
}

void converse_with(const struct setting *setting, const char *const *lines)
{
    struct conversation *talk = calloc(1, sizeof *talk);
    assert_non_null(talk);
    snprintf(talk->options, sizeof talk->options,
             "listener 1883\nallow_anonymous true\nsys_interval 0\n%s",
             setting->options ? setting->options : "");
    if (setting->store)
        talk->store = fault_store_new();
    if (talk->store)
        talk->store->store.late = setting->late;
    world_window = setting->window;
    world_init_with(&talk->world, setting->workers, talk->options,
                    talk->store ? &talk->store->store : NULL);
    talk->setting = setting;
    talk->world.wall_ahead = setting->wall_ahead;
    set_users(talk->world.config, setting->users);
    set_secret(talk->world.config, setting->secret);
    for (unsigned i = 0; i < setting->workers; i++) { /* which have seen the configuration before */
        struct worker *worker = broker_worker(talk->world.broker, i);
        access_take_rules(worker, worker->rules);
    }
    if (talk->store)
        talk->store->broker = talk->world.broker;
    for (; *lines; lines++)
        act(talk, *lines);
    for (unsigned i = 0; i < PEERS; i++)
        conn_free(talk->speakers[i].conn);
    if (talk->store && !talk->never)
        fault_store_go_on(talk->store); /* sessions that have ended go when the store knows it */
    world_done(&talk->world);
    if (talk->store)
        fault_store_free(talk->store);
    free(talk);
}

void converse(const char *options, const char *const *lines)
{
    converse_with(&(struct setting){ .options = options, .workers = 1 }, lines);
}
