/* SPDX-License-Identifier: MIT */
/*
 * What callgrind counts: the codec, matching, offering and draining, over links that are buffers.
 * No socket, no clock, no thread, no chance, so that the same program executes the same number of
 * instructions whatever the machine does beside it. tests/bench/instructions runs it, and compares.
 *
 *   instructions        every case, each a few rounds to warm up and then a few that count
 *   instructions NAME   that case alone, for a profile of it
 *
 * A round is small enough (400 messages a receiver) that nothing is flushed in mid-turn: what is
 * taken in and what is sent are counted apart. One thread. It checks what it measures: a case
 * whose messages do not all arrive ends the program.
 */
#include "tests/broker/support/world.h"

#include <stdio.h>
#include <stdlib.h>

#include "broker/config.h"
#include "mqtt/encode.h"
#include "mqtt/tree.h"

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else /* builds, but counts nothing: the runner says what is missing */
#define CALLGRIND_ZERO_STATS           ((void)0)
#define CALLGRIND_TOGGLE_COLLECT       ((void)0)
#define CALLGRIND_DUMP_STATS_AT(label) ((void)(label))
#endif

enum { WARM = 8, ROUNDS = 8, PAYLOAD = 64, SCRATCH = 256 * 1024, PACKETS = 1000, FILTERS = 10000 };

/* ---- counting ---------------------------------------------------------------------------- */

static uint64_t counted; /* of what the case is measured in */

#define NEED(condition) ((condition) ? (void)0 : fail(__FILE__, __LINE__, #condition))

static void fail(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
    abort();
}

static void count_begin(void)
{
    counted = 0;
    CALLGRIND_ZERO_STATS;
}

static void count_on(bool counts)
{
    if (counts)
        CALLGRIND_TOGGLE_COLLECT;
}

static void count_off(bool counts, uint64_t units)
{
    if (!counts)
        return;
    CALLGRIND_TOGGLE_COLLECT;
    counted += units;
}

/* The dump carries the name and the number of units; the runner divides. */
static void count_end(const char *name)
{
    char label[128];
    snprintf(label, sizeof label, "%s|%llu", name, (unsigned long long)counted);
    CALLGRIND_DUMP_STATS_AT(label);
    NEED(counted > 0);
}

/* ---- clients whose link is a buffer ------------------------------------------------------ */

struct client {
    struct link link;
    struct world *world;
    struct conn *conn;
    uint8_t *out; /* what it was sent since the last look */
    size_t len;
};

static struct client *client_of(struct link *link)
{
    return CONTAINER_OF(link, struct client, link);
}

static void link_flush(struct link *link)
{
    struct client *client = client_of(link);
    for (;;) {
        NEED(client->len < SCRATCH - 1024);
        size_t got = conn_drain(client->conn, client->out + client->len, SCRATCH - client->len,
                                client->world->now);
        if (got == 0)
            return;
        client->len += got;
    }
}

static void link_nothing(struct link *link)
{
    (void)link;
}

static void link_pause(struct link *link, bool paused)
{
    (void)link, (void)paused;
}

static const struct link_ops link_ops = { .flush = link_flush,
                                          .close = link_nothing,
                                          .pause = link_pause };

static void feed(struct client *client, struct span bytes)
{
    conn_feed(client->conn, bytes, client->world->now);
}

static void client_new(struct client *client, struct world *world)
{
    client->world = world;
    client->link.ops = &link_ops;
    client->len = 0;
    if (!client->out)
        client->out = malloc(SCRATCH);
    client->conn = conn_new(broker_worker(world->broker, 0), &client->link,
                            &(struct conn_origin){ .listener = &world->config->listeners[0],
                                                   .address = span_str("here") },
                            world->now);
    NEED(client->out && client->conn);
}

static size_t encode_connect(uint8_t *out, size_t room, unsigned number)
{
    const uint8_t variable[] = { 0, 4, 'M', 'Q', 'T', 'T', MQTT_V311, 2, 0, 0 };
    uint8_t payload[32];
    char id[24];
    struct mqtt_writer w = { .out = payload, .room = sizeof payload };

    snprintf(id, sizeof id, "client-%u", number);
    mqtt_put_string(&w, span_str(id));
    return mqtt_encode_packet(out, room, MQTT_CONNECT << 4, MQTT_V311,
                              span_of(variable, sizeof variable), span_of(NULL, 0),
                              span_of(payload, w.len));
}

static void client_connect(struct client *client, struct world *world, unsigned number)
{
    uint8_t packet[64];
    size_t len = encode_connect(packet, sizeof packet, number);

    client_new(client, world);
    feed(client, span_of(packet, len));
    world_run(world);
    NEED(client->len == 4 && client->out[0] == MQTT_CONNACK << 4 && client->out[3] == 0);
    client->len = 0;
}

static void client_subscribe(struct client *client, const char *filter, uint8_t qos)
{
    uint8_t packet[128], payload[96];
    struct mqtt_writer w = { .out = payload, .room = sizeof payload };

    mqtt_put_string(&w, span_str(filter));
    mqtt_put_u8(&w, qos);
    size_t len = mqtt_encode_packet(packet, sizeof packet, MQTT_SUBSCRIBE << 4 | 2, MQTT_V311,
                                    span_of("\0\1", 2), span_of(NULL, 0), span_of(payload, w.len));
    feed(client, span_of(packet, len));
    world_run(client->world);
    NEED(client->len == 5);
    client->len = 0;
}

static void client_done(struct client *client)
{
    if (client->conn)
        conn_free(client->conn);
    free(client->out);
    *client = (struct client){ 0 };
}

/* ---- packets ----------------------------------------------------------------------------- */

static size_t encode_publish(uint8_t *out, size_t room, const char *topic, uint8_t flags,
                             uint16_t id)
{
    uint8_t variable[96];
    static const uint8_t payload[PAYLOAD] = "x";
    struct mqtt_writer w = { .out = variable, .room = sizeof variable };

    mqtt_put_string(&w, span_str(topic));
    if (flags & 6)
        mqtt_put_u16(&w, id);
    size_t len = mqtt_encode_packet(out, room, (uint8_t)(MQTT_PUBLISH << 4 | flags), MQTT_V311,
                                    span_of(variable, w.len), span_of(NULL, 0),
                                    span_of(payload, sizeof payload));
    NEED(len <= room);
    return len;
}

/*
 * Takes what a client was sent off its buffer: the PUBLISH packets in it, and into `replies` what a
 * client answers. Returns how many PUBLISH packets there were.
 */
static unsigned client_read(struct client *client, uint8_t *replies, size_t *ret_len)
{
    struct span in = span_of(client->out, client->len);
    struct mqtt_frame frame;
    unsigned publishes = 0;
    size_t len = 0;

    while (mqtt_frame_parse(in, &frame) == MQTT_FRAME_WHOLE) {
        const uint8_t *body = in.data + frame.header_len, *id = body;
        enum mqtt_type answer = 0;
        if (frame.type == MQTT_PUBLISH) {
            publishes++;
            id += 2 + (body[0] << 8 | body[1]);
            answer = (frame.flags & 6) == 2 ? MQTT_PUBACK : (frame.flags & 6) ? MQTT_PUBREC : 0;
        } else if (frame.type == MQTT_PUBREC || frame.type == MQTT_PUBREL) {
            answer = frame.type + 1;
        }
        if (answer)
            len += mqtt_encode_ack(replies + len, answer, MQTT_V311, (uint16_t)(id[0] << 8 | id[1]),
                                   MQTT_SUCCESS);
        in.data += frame.header_len + frame.body_len;
        in.len -= frame.header_len + frame.body_len;
    }
    NEED(in.len == 0);
    client->len = 0;
    *ret_len = len;
    return publishes;
}

/* ---- messages from publishers to subscribers --------------------------------------------- */

enum step { TAKE_IN, SEND, ACKNOWLEDGE }; /* offer, drain, and what QoS 1 and 2 add */

enum audience { NOBODY, OWN, ALL, GROUP };

struct flow {
    const char *name;
    enum step step;
    enum audience audience;
    uint8_t qos;
    bool retain;
    unsigned publishers, subscribers, batch;
};

struct traffic {
    const struct flow *flow;
    struct world world;
    struct client *publishers, *subscribers;
    uint8_t *bytes; /* of one publisher's batch */
    uint8_t *replies;
};

static void traffic_init(struct traffic *traffic, const struct flow *flow)
{
    char filter[32];

    *traffic = (struct traffic){ .flow = flow };
    world_init(&traffic->world, 1, "allow_anonymous true\nmax_queued_messages 0\n");
    traffic->publishers = calloc(flow->publishers, sizeof *traffic->publishers);
    traffic->subscribers = calloc(flow->subscribers + 1u, sizeof *traffic->subscribers);
    traffic->bytes = malloc(SCRATCH);
    traffic->replies = malloc(SCRATCH);
    NEED(traffic->publishers && traffic->subscribers && traffic->bytes && traffic->replies);
    for (unsigned i = 0; i < flow->subscribers; i++) {
        client_connect(&traffic->subscribers[i], &traffic->world, i);
        snprintf(filter, sizeof filter, "bench/%u", i);
        client_subscribe(&traffic->subscribers[i],
                         flow->audience == OWN   ? filter
                         : flow->audience == ALL ? "bench/+"
                                                 : "$share/group/bench/+",
                         flow->qos);
    }
    for (unsigned i = 0; i < flow->publishers; i++)
        client_connect(&traffic->publishers[i], &traffic->world, 1000 + i);
}

static void traffic_done(struct traffic *traffic)
{
    for (unsigned i = 0; i < traffic->flow->publishers; i++)
        client_done(&traffic->publishers[i]);
    for (unsigned i = 0; i < traffic->flow->subscribers; i++)
        client_done(&traffic->subscribers[i]);
    free(traffic->publishers);
    free(traffic->subscribers);
    free(traffic->bytes);
    free(traffic->replies);
    world_done(&traffic->world);
}

static void take_in(struct traffic *traffic, bool counts)
{
    const struct flow *flow = traffic->flow;
    char topic[32];

    for (unsigned i = 0; i < flow->publishers; i++) {
        size_t len = 0;
        snprintf(topic, sizeof topic, "bench/%u", i);
        for (unsigned n = 0; n < flow->batch; n++)
            len += encode_publish(traffic->bytes + len, SCRATCH - len, topic,
                                  (uint8_t)(flow->qos << 1 | flow->retain), (uint16_t)(n + 1));
        count_on(counts);
        feed(&traffic->publishers[i], span_of(traffic->bytes, len));
        count_off(counts, 0);
    }
}

static void finish(struct traffic *traffic, bool counts)
{
    struct worker *worker = broker_worker(traffic->world.broker, 0);

    count_on(counts);
    while (worker_finish(worker, traffic->world.now))
        ;
    count_off(counts, 0);
}

/* One look at a client's buffer, and its answers; whether there was an answer. */
static bool answer(struct traffic *traffic, struct client *client, bool counts,
                   unsigned *ret_publishes)
{
    size_t len;

    *ret_publishes = client_read(client, traffic->replies, &len);
    if (!len)
        return false;
    count_on(counts);
    feed(client, span_of(traffic->replies, len));
    count_off(counts, 0);
    return true;
}

/* Until nobody has anything to say any more; returns how many messages arrived. */
static uint64_t settle(struct traffic *traffic, bool counts)
{
    const struct flow *flow = traffic->flow;
    uint64_t publishes = 0;
    unsigned more;

    for (bool busy = true; busy;) {
        busy = false;
        for (unsigned i = 0; i < flow->subscribers; i++) {
            busy |= answer(traffic, &traffic->subscribers[i], counts, &more);
            publishes += more;
        }
        for (unsigned i = 0; i < flow->publishers; i++)
            busy |= answer(traffic, &traffic->publishers[i], counts, &more);
        finish(traffic, counts);
    }
    return publishes;
}

static void round_trip(struct traffic *traffic, bool counts)
{
    const struct flow *flow = traffic->flow;
    uint64_t sent = (uint64_t)flow->publishers * flow->batch;
    uint64_t wanted = flow->audience == NOBODY ? 0
                      : flow->audience == ALL  ? sent * flow->subscribers
                                               : sent;

    take_in(traffic, counts && flow->step == TAKE_IN);
    finish(traffic, counts && flow->step == SEND);
    uint64_t arrived = settle(traffic, counts && flow->step == ACKNOWLEDGE);
    NEED(arrived == wanted);
    if (counts)
        counted += wanted ? wanted : sent;
}

static void run_flow(const void *what)
{
    struct traffic traffic;

    traffic_init(&traffic, what);
    for (unsigned i = 0; i < WARM; i++)
        round_trip(&traffic, false);
    count_begin();
    for (unsigned i = 0; i < ROUNDS; i++)
        round_trip(&traffic, true);
    count_end(traffic.flow->name);
    traffic_done(&traffic);
}

/* clang-format off */
static const struct flow flows[] = {
    { "fan-in QoS 0, offer", TAKE_IN, ALL, 0, false, 5, 1, 80 },
    { "fan-in QoS 0, drain", SEND, ALL, 0, false, 5, 1, 80 },
    { "fan-in QoS 1, offer", TAKE_IN, ALL, 1, false, 5, 1, 80 },
    { "fan-in QoS 1, drain", SEND, ALL, 1, false, 5, 1, 80 },
    { "fan-in QoS 1, acknowledge", ACKNOWLEDGE, ALL, 1, false, 5, 1, 80 },
    { "fan-in QoS 2, offer", TAKE_IN, ALL, 2, false, 5, 1, 80 },
    { "fan-in QoS 2, drain", SEND, ALL, 2, false, 5, 1, 80 },
    { "fan-in QoS 2, acknowledge", ACKNOWLEDGE, ALL, 2, false, 5, 1, 80 },
    { "fan-out QoS 0, offer", TAKE_IN, ALL, 0, false, 1, 100, 100 },
    { "fan-out QoS 0, drain", SEND, ALL, 0, false, 1, 100, 100 },
    { "fan-out QoS 1, offer", TAKE_IN, ALL, 1, false, 1, 100, 100 },
    { "fan-out QoS 1, drain", SEND, ALL, 1, false, 1, 100, 100 },
    { "fan-out QoS 1, acknowledge", ACKNOWLEDGE, ALL, 1, false, 1, 100, 100 },
    { "ingest QoS 0, offer", TAKE_IN, NOBODY, 0, false, 50, 0, 100 },
    { "ingest QoS 1, offer", TAKE_IN, NOBODY, 1, false, 50, 0, 100 },
    { "ingest QoS 1, drain", SEND, NOBODY, 1, false, 50, 0, 100 },
    { "pairs QoS 0, offer", TAKE_IN, OWN, 0, false, 100, 100, 20 },
    { "pairs QoS 0, drain", SEND, OWN, 0, false, 100, 100, 20 },
    { "pairs QoS 1, one at a time, offer", TAKE_IN, OWN, 1, false, 100, 100, 1 },
    { "pairs QoS 1, one at a time, drain", SEND, OWN, 1, false, 100, 100, 1 },
    { "shared QoS 0, offer", TAKE_IN, GROUP, 0, false, 50, 10, 10 },
    { "shared QoS 0, drain", SEND, GROUP, 0, false, 50, 10, 10 },
    { "shared QoS 1, offer", TAKE_IN, GROUP, 1, false, 50, 10, 10 },
    { "shared QoS 1, acknowledge", ACKNOWLEDGE, GROUP, 1, false, 50, 10, 10 },
    { "retained QoS 0, set again", TAKE_IN, NOBODY, 0, true, 50, 0, 100 },
};
/* clang-format on */

/* ---- connections ------------------------------------------------------------------------- */

static void come_and_go(struct world *world, unsigned number, bool counts)
{
    struct client client = { .out = malloc(SCRATCH) };
    uint8_t packet[64];
    size_t len = encode_connect(packet, sizeof packet, number);

    count_on(counts);
    client_new(&client, world);
    feed(&client, span_of(packet, len));
    world_run(world);
    feed(&client, span_of("\xe0\0", 2));
    conn_free(client.conn);
    world_run(world);
    count_off(counts, 1);
    NEED(client.len == 4);
    client.conn = NULL;
    client_done(&client);
}

static void run_connections(const void *what)
{
    struct world world;

    world_init(&world, 1, "allow_anonymous true\n");
    for (unsigned i = 0; i < PACKETS; i++)
        come_and_go(&world, i, false);
    count_begin();
    for (unsigned i = 0; i < PACKETS; i++)
        come_and_go(&world, i, true);
    count_end(what);
    world_done(&world);
}

/* ---- the codec --------------------------------------------------------------------------- */

static void decode_many(struct span packet, uint8_t version, bool is_publish)
{
    struct mqtt_publish publish;
    struct mqtt_connect connect;
    struct mqtt_frame frame;

    for (unsigned i = 0; i < PACKETS; i++) {
        NEED(mqtt_frame_parse(packet, &frame) == MQTT_FRAME_WHOLE);
        struct span body = span_of(packet.data + frame.header_len, frame.body_len);
        NEED((is_publish ? mqtt_decode_publish(frame.flags, body, version, &publish)
                         : mqtt_decode_connect(body, &connect)) == MQTT_SUCCESS);
    }
}

static void count_decode(const char *name, struct span packet, uint8_t version, bool is_publish)
{
    count_begin();
    count_on(true);
    decode_many(packet, version, is_publish);
    count_off(true, PACKETS);
    count_end(name);
}

static void run_decode_publish(const void *what)
{
    uint8_t packet[256];
    count_decode(what, span_of(packet, encode_publish(packet, sizeof packet, "bench/7", 2, 7)),
                 MQTT_V311, true);
}

static void run_decode_properties(const void *what)
{
    uint8_t packet[256], variable[32], props[96];
    struct mqtt_writer v = { .out = variable, .room = sizeof variable },
                       p = { .out = props, .room = sizeof props };

    mqtt_put_string(&v, span_str("bench/7"));
    mqtt_put_u16(&v, 7);
    mqtt_put_number_property(&p, MQTT_PROP_MESSAGE_EXPIRY, 60);
    mqtt_put_string_property(&p, MQTT_PROP_CONTENT_TYPE, span_str("text/plain"));
    mqtt_put_string_property(&p, MQTT_PROP_RESPONSE_TOPIC, span_str("bench/answers/7"));
    size_t len = mqtt_encode_packet(packet, sizeof packet, MQTT_PUBLISH << 4 | 2, MQTT_V5,
                                    span_of(variable, v.len), span_of(props, p.len),
                                    span_str("hello"));
    count_decode(what, span_of(packet, len), MQTT_V5, true);
}

static void run_decode_connect(const void *what)
{
    uint8_t packet[64];
    count_decode(what, span_of(packet, encode_connect(packet, sizeof packet, 7)), MQTT_V311, false);
}

static void run_encode_publish(const void *what)
{
    static const uint8_t payload[PAYLOAD];
    static const uint32_t sub_ids[] = { 300 };
    const struct mqtt_delivery delivery = { .version = MQTT_V5,
                                            .qos = 1,
                                            .id = 7,
                                            .sub_id_count = 1,
                                            .sub_ids = sub_ids,
                                            .topic = span_str("bench/7"),
                                            .payload = span_of(payload, sizeof payload) };
    uint8_t out[256];

    count_begin();
    count_on(true);
    for (unsigned i = 0; i < PACKETS; i++)
        NEED(mqtt_encode_publish(&delivery, 0, out, sizeof out) == mqtt_publish_size(&delivery));
    count_off(true, PACKETS);
    count_end(what);
}

/* ---- matching ---------------------------------------------------------------------------- */

static unsigned matches;

static void match(void *ctx, const struct tree_entry *entry)
{
    (void)ctx, (void)entry;
    matches++;
}

/* `subscribers` at each of FILTERS / subscribers wildcard filters. */
static void count_match(const char *name, unsigned subscribers)
{
    struct tree *tree = tree_new(42);
    static uint8_t subscriber[FILTERS];
    char text[32];

    NEED(tree);
    for (unsigned i = 0; i < FILTERS; i++) {
        const struct tree_entry entry = { .subscriber = &subscriber[i] };
        snprintf(text, sizeof text, "bench/%u/+", i / subscribers);
        NEED(tree_insert(tree, span_str(text), &entry) >= TREE_FIRST);
    }
    matches = 0;
    count_begin();
    for (unsigned i = 0; i < PACKETS; i++) {
        snprintf(text, sizeof text, "bench/%u/t", i % (FILTERS / subscribers));
        struct span topic = span_str(text);
        count_on(true);
        tree_match(tree, topic, match, NULL);
        count_off(true, subscribers);
    }
    NEED(matches == PACKETS * subscribers);
    count_end(name);
    tree_free(tree);
}

static void run_match_one(const void *what)
{
    count_match(what, 1);
}

static void run_match_many(const void *what)
{
    count_match(what, 100);
}

/* ---- all of them ------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*run)(const void *name);
} cases[] = {
    { "decode PUBLISH QoS 1", run_decode_publish },
    { "decode PUBLISH QoS 1 with properties", run_decode_properties },
    { "decode CONNECT", run_decode_connect },
    { "encode PUBLISH QoS 1 for version 5", run_encode_publish },
    { "match one of 10,000 wildcard filters", run_match_one },
    { "match a filter of 100 subscribers, each", run_match_many },
    { "connect and disconnect", run_connections },
};

int main(int argc, char *argv[])
{
    const char *only = argc > 1 ? argv[1] : NULL;
    bool found = false;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (!only || strcmp(only, cases[i].name) == 0) {
            cases[i].run(cases[i].name);
            found = true;
        }
    for (size_t i = 0; i < sizeof flows / sizeof *flows; i++)
        if (!only || strcmp(only, flows[i].name) == 0) {
            run_flow(&flows[i]);
            found = true;
        }
    if (!found)
        fprintf(stderr, "there is no case named %s\n", only);
    return found ? 0 : 2;
}
