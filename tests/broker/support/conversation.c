/* SPDX-License-Identifier: MIT */
/* See conversation.h. One broker a conversation, in the test's own thread. */
#include "tests/broker/support/conversation.h"

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
    size_t len;
    uint8_t bytes[BYTES_MAX]; /* received, not yet compared */
};

static void flush(struct link *link)
{
    struct speaker *speaker = CONTAINER_OF(link, struct speaker, link);
    size_t len;
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
    (void)link, (void)paused;
}

static const struct link_ops ops = { .flush = flush, .close = close_link, .pause = pause_link };

static void settle(struct world *world, struct speaker *speakers)
{
    world_run(world);
    for (unsigned i = 0; i < PEERS; i++) {
        struct speaker *speaker = &speakers[i];
        if (!speaker->conn || !speaker->closing)
            continue;
        flush(&speaker->link);
        conn_free(speaker->conn);
        speaker->conn = NULL;
        speaker->closed = true;
    }
    world_run(world);
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

static void say(struct world *world, struct speaker *speaker, const char *hex, char letter)
{
    static const struct conn_origin nowhere = { 0 };
    uint8_t *bytes = malloc(BYTES_MAX);
    assert_non_null(bytes);
    size_t len = put(bytes, 0, hex, letter);
    if (!speaker->conn) {
        struct conn_origin origin = nowhere;
        origin.listener = &world->config->listeners[0];
        origin.address = span_str("test");
        speaker->link.ops = &ops;
        speaker->world = world;
        speaker->closing = speaker->closed = false;
        speaker->len = 0;
        speaker->conn = conn_new(broker_worker(world->broker, 0), &speaker->link, &origin,
                                 world->now);
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

static void act(struct world *world, struct speaker *speakers, const char *line)
{
    if (line[0] == '+') {
        world_pass(world, strtoull(line + 1, NULL, 10));
        return;
    }
    assert_in_range(line[0], 'a', 'z');
    struct speaker *speaker = &speakers[line[0] - 'a'];
    switch (line[1]) {
    case '>': say(world, speaker, line + 2, line[0]); break;
    case '<':
    case '^': hear(speaker, line); break;
    case '.':
        if (speaker->conn || !speaker->closed)
            fail_msg("line \"%s\": the connection is open", line);
        break;
    case '!':
        assert_non_null(speaker->conn);
        conn_free(speaker->conn);
        speaker->conn = NULL;
        break;
    default: fail_msg("what is \"%s\"?", line);
    }
}

void converse(const char *options, const char *const *lines)
{
    char text[1024];
    struct world world = { 0 };
    struct speaker *speakers = calloc(PEERS, sizeof *speakers);
    assert_non_null(speakers);
    snprintf(text, sizeof text, "listener 1883\nallow_anonymous true\nsys_interval 0\n%s",
             options ? options : "");
    world_init(&world, 1, text);
    for (; *lines; lines++) {
        act(&world, speakers, *lines);
        settle(&world, speakers);
    }
    for (unsigned i = 0; i < PEERS; i++)
        conn_free(speakers[i].conn);
    world_done(&world);
    free(speakers);
}
