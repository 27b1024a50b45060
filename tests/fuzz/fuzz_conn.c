/* SPDX-License-Identifier: MIT */
/*
 * Fuzzes a whole broker over fake links: five peers that send whatever the input says, lose their
 * connection, do not read, and a clock that is moved. One thread, everything freed at the end, the
 * same input does the same.
 *
 *     byte 0      bits 0-1 workers - 1, bit 2 the configuration with small limits
 *     then steps  bits 0-2 which peer, bits 3-5 what (enum step), bits 6-7 how
 *
 * What the broker sends must be whole frames that a server may send, CONNACK first and nothing
 * after DISCONNECT.
 */
#include "tests/broker/support/world.h"

#include "broker/config.h"
#include "mqtt/encode.h"
#include "tests/broker/support/packets.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PEERS = 5, PIECE = 1024 };

enum step {
    FEED,       /* a length byte and so many bytes */
    FEED_TWICE, /* the same, sent twice */
    CONNECT,    /* how: 0 version 3.1.1, 1 the same and kept, 2 version 5, 3 the same and kept */
    LOSE,       /* the network goes */
    PASS,       /* a byte: seconds */
    CHOKE,      /* how: 0 the socket takes nothing, 1 one piece, 2 and 3 everything again */
    SUBSCRIBE,  /* to "a/#" or "$share/g/a/#", in the form of version 5 or 3.1.1 */
    PUBLISH,    /* to "a/b", how: the QoS (3: retained), in the form of version 5 or 3.1.1 */
};

struct line { /* a peer and its link */
    struct link link;
    struct world *world;
    struct conn *conn; /* NULL: closed */
    bool closing, v5, choked;
    struct server_stream stream;
    unsigned takes;
    size_t len, room;
    uint8_t *bytes; /* received, not yet a whole frame */
};

struct input {
    const uint8_t *at, *end;
};

static unsigned next(struct input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

/* ---- what the broker sends ---- */

static void check_frame(void *ctx, const struct mqtt_frame *frame, struct span body)
{
    struct line *line = ctx;
    packets_check_order(&line->stream, frame, body);
}

static void link_flush(struct link *link)
{
    struct line *line = CONTAINER_OF(link, struct line, link);
    size_t got = 1;
    while (got && line->conn && line->takes) {
        if (line->room - line->len < PIECE) {
            line->room = line->room * 2 + PIECE;
            line->bytes = realloc(line->bytes, line->room);
            assert(line->bytes);
        }
        got = conn_drain(line->conn, line->bytes + line->len, PIECE, line->world->now);
        assert(got <= PIECE);
        line->takes -= line->choked;
        line->len = packets_take(line->bytes, line->len + got, check_frame, line);
    }
}

static void link_close(struct link *link)
{
    CONTAINER_OF(link, struct line, link)->closing = true;
}

static void link_pause(struct link *link, bool paused)
{
    (void)link, (void)paused;
}

static const struct link_ops ops = { .flush = link_flush,
                                     .close = link_close,
                                     .pause = link_pause };

/* ---- what the peers do ---- */

static void open_line(struct line *line, unsigned worker)
{
    struct world *world = line->world;
    if (line->conn)
        return;
    line->closing = line->choked = false;
    line->stream = (struct server_stream){ 0 };
    line->takes = 1;
    line->len = 0;
    line->conn = conn_new(broker_worker(world->broker, worker % broker_worker_count(world->broker)),
                          &line->link,
                          &(struct conn_origin){ .listener = &world->config->listeners[0],
                                                 .address = span_str("fuzz") },
                          world->now);
}

static void close_line(struct line *line)
{
    conn_free(line->conn);
    line->conn = NULL;
}

static void say(struct line *line, unsigned worker, struct span bytes)
{
    open_line(line, worker);
    if (line->conn)
        conn_feed(line->conn, bytes, line->world->now);
}

static void say_packet(struct line *line, unsigned worker, uint8_t first, struct span variable,
                       struct span payload)
{
    uint8_t out[128];
    size_t len = mqtt_encode_packet(out, sizeof out, first, line->v5 ? MQTT_V5 : MQTT_V311,
                                    variable, (struct span){ 0 }, payload);
    assert(len <= sizeof out);
    say(line, worker, span_of(out, len));
}

static void say_connect(struct line *line, unsigned worker, unsigned how, unsigned name)
{
    const char id[] = { 0, 1, (char)('a' + name % 3) }; /* fewer names than peers: takeovers */
    uint8_t variable[] = { 0, 4, 'M', 'Q', 'T', 'T', how & 2 ? 5 : 4, how & 1 ? 0 : 2, 0, 60 };
    uint8_t out[64], props[] = { MQTT_PROP_SESSION_EXPIRY, 0, 0, 0, 100 };
    line->v5 = how & 2;
    size_t len = mqtt_encode_packet(
        out, sizeof out, MQTT_CONNECT << 4, variable[6], span_of(variable, sizeof variable),
        span_of(props, how == 3 ? sizeof props : 0), span_of(id, sizeof id));
    say(line, worker, span_of(out, len));
}

static void say_subscribe(struct line *line, unsigned worker, unsigned how)
{
    static const char plain[] = "\0\3a/#\2", shared[] = "\0\14$share/g/a/#\1";
    const struct span filter = how & 1 ? span_of(shared, sizeof shared - 1)
                                       : span_of(plain, sizeof plain - 1);
    say_packet(line, worker, MQTT_SUBSCRIBE << 4 | 2, span_of("\0\7", 2), filter);
}

static void say_publish(struct line *line, unsigned worker, unsigned how)
{
    unsigned qos = how == 3 ? 0 : how;
    say_packet(line, worker, (uint8_t)(MQTT_PUBLISH << 4 | qos << 1 | (how == 3)),
               span_of("\0\3a/b\0\7", qos ? 7 : 5), span_of("payload", 7));
}

static void choke(struct line *line, unsigned how)
{
    if (!line->conn)
        return;
    line->choked = how < 2;
    line->takes = how < 2 ? how : 1;
    conn_choked(line->conn, line->choked, line->world->now);
}

static struct span take(struct input *in)
{
    size_t len = next(in);
    if (len > (size_t)(in->end - in->at))
        len = (size_t)(in->end - in->at);
    in->at += len;
    return span_of(in->at - len, len);
}

static void step(struct world *world, struct line *lines, struct input *in)
{
    unsigned what = next(in), peer = (what & 7) % PEERS, how = what >> 6;
    struct line *line = &lines[peer];
    struct span bytes;
    switch ((enum step)(what >> 3 & 7)) {
    case FEED: say(line, peer, take(in)); break;
    case FEED_TWICE:
        bytes = take(in);
        say(line, peer, bytes);
        say(line, peer, bytes);
        break;
    case CONNECT: say_connect(line, peer, how, peer); break;
    case LOSE: close_line(line); break;
    case PASS: world_pass(world, (uint64_t)next(in) * 1000); break;
    case CHOKE: choke(line, how); break;
    case SUBSCRIBE: say_subscribe(line, peer, how); break;
    case PUBLISH: say_publish(line, peer, how); break;
    }
    if (how != 1 || (what >> 3 & 7) != FEED) /* such a FEED is in one turn with the next step */
        world_run(world);
    for (unsigned i = 0; i < PEERS; i++)
        if (lines[i].closing)
            close_line(&lines[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char plain[] = "listener 1883\nallow_anonymous true\nsys_interval 10\n";
    static const char small[] =
        "listener 1883\nallow_anonymous true\nmax_qos 1\nmax_topic_alias 2\nsys_interval 0\n"
        "max_inflight_messages 2\nmax_queued_messages 3\nmax_packet_size 64\n"
        "check_payload_format true\nqueue_qos0_messages true\nmax_keepalive 30\n";
    struct input in = { data, data + size };
    struct world world = { 0 };
    struct line lines[PEERS] = { 0 };
    unsigned first = next(&in);
    world_init(&world, (first & 3) % 3 + 1, first & 4 ? small : plain);
    for (unsigned i = 0; i < PEERS; i++) {
        lines[i].link.ops = &ops;
        lines[i].world = &world;
    }
    while (in.at < in.end)
        step(&world, lines, &in);
    for (unsigned i = 0; i < PEERS; i++)
        close_line(&lines[i]);
    world_run(&world);
    for (unsigned i = 0; i < PEERS; i++)
        free(lines[i].bytes);
    world_done(&world);
    return 0;
}
