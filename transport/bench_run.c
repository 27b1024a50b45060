/* SPDX-License-Identifier: MIT */
/*
 * The loop. One thread, one epoll. What must be cheap is per message: a copy of the encoded packet
 * with three patches on the way out, a look at two fields and one increment on the way in; all
 * packets for a connection leave in one send(), and nothing is allocated while the kernel keeps up.
 */
#include "transport/bench_run.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "transport/bench_meter.h"

enum { EVENTS = 512, TURN_WAIT = 100, DUE_MAX = 4096 };
static const uint64_t PATIENCE = 5000000000; /* without any progress */

struct stamp {
    uint32_t publisher, number;
    uint64_t time;
};
static_assert(sizeof(struct stamp) == BENCH_STAMP, "the payload's least size");

/* ---- sending ----------------------------------------------------------------------------- */

static void lost_connection(struct bench_run *run)
{
    run->broken = true;
}

static void watch_writing(struct bench_run *run, struct bench_client *client)
{
    bool wanted = client->rest_len > 0;
    if (wanted == client->waits_to_write)
        return;
    struct epoll_event event = { .events = EPOLLIN | (wanted ? EPOLLOUT : 0), .data.ptr = client };
    epoll_ctl(run->epoll, EPOLL_CTL_MOD, client->wire.fd, &event);
    client->waits_to_write = wanted;
}

static void send_or_keep(struct bench_run *run, struct bench_client *client, const uint8_t *data,
                         size_t len)
{
    if (!bench_client_send(client, data, len))
        lost_connection(run);
    watch_writing(run, client);
}

static void make_ready(struct bench_run *run, struct bench_publisher *publisher)
{
    if (publisher->queued || publisher->sent == publisher->quota)
        return;
    publisher->queued = true;
    run->ready[run->ready_count++] = publisher->index;
}

/* Sends when half of the window is free, so that packets leave in batches. */
static void settle(struct bench_run *run, struct bench_publisher *publisher)
{
    uint32_t settled = run->audience == BENCH_NOBODY ? publisher->sent : publisher->heard;

    if (run->options->qos && publisher->acked < settled)
        settled = publisher->acked;
    publisher->settled = settled;
    if (publisher->sent - settled <= publisher->window / 2)
        make_ready(run, publisher);
}

static void put_digits(uint8_t *out, uint32_t number)
{
    for (int i = 7; i >= 0; i--, number /= 10)
        out[i] = (uint8_t)('0' + number % 10);
}

static void write_packet(const struct bench_run *run, const struct bench_publisher *publisher,
                         uint32_t number, uint64_t now, uint8_t *out)
{
    const struct stamp stamp = { publisher->index, number, now };

    memcpy(out, publisher->packet, publisher->size);
    if (publisher->stamp_at)
        memcpy(out + publisher->stamp_at, &stamp, sizeof stamp);
    if (publisher->id_at) {
        uint32_t id = number % UINT16_MAX + 1;
        out[publisher->id_at] = (uint8_t)(id >> 8);
        out[publisher->id_at + 1] = (uint8_t)id;
    }
    if (publisher->digits_at) {
        uint32_t digits = number * run->publisher_count + publisher->index;
        put_digits(out + publisher->digits_at, run->topics ? digits % run->topics : digits);
    }
}

static void publish(struct bench_run *run, struct bench_publisher *publisher, uint32_t count,
                    uint64_t now)
{
    uint32_t fits = (uint32_t)(run->room / publisher->size);
    uint32_t unacknowledged = publisher->sent - publisher->acked;

    if (count > publisher->quota - publisher->sent)
        count = publisher->quota - publisher->sent;
    if (count > fits)
        count = fits;
    /* Open loop: the broker may be late, but an identifier is used once at a time. */
    if (run->options->qos && count > publisher->client->receive_max - unacknowledged)
        count = publisher->client->receive_max - unacknowledged;
    if (count == 0 || publisher->client->rest_len)
        return;
    for (uint32_t i = 0; i < count; i++)
        write_packet(run, publisher, publisher->sent + i, now,
                     run->out + (size_t)i * publisher->size);
    publisher->sent += count;
    run->sent += count;
    send_or_keep(run, publisher->client, run->out, (size_t)count * publisher->size);
}

/* Closed loop: all that may send. */
static void pump(struct bench_run *run)
{
    uint32_t count = run->ready_count;

    for (uint32_t i = 0; i < count; i++) {
        struct bench_publisher *publisher = &run->publishers[run->ready[i]];
        publisher->queued = false;
        publish(run, publisher, publisher->window - (publisher->sent - publisher->settled),
                bench_now());
        /* Where nobody hears and nothing is acknowledged, the socket alone is the limit. A
         * connection that is full comes back when it has room. */
        if (!publisher->client->rest_len &&
            (publisher->sent - publisher->settled < publisher->window / 2 ||
             (run->audience == BENCH_NOBODY && !run->options->qos)))
            settle(run, publisher);
    }
    /* Those that are to go on were appended behind. */
    run->ready_count -= count;
    memmove(run->ready, run->ready + count, run->ready_count * sizeof *run->ready);
}

/* Open loop: as many as the clock says, spread evenly. */
static void follow_clock(struct bench_run *run, bool sending)
{
    uint64_t ticks, now = bench_now();

    if (read(run->timer, &ticks, sizeof ticks) < 0 || !sending)
        return;
    double due = (double)(now - run->started) / 1e9 * run->options->rate - (double)run->sent;
    if (due < 1)
        return;
    /* No more at once: a subscriber must not go unread because a publisher is late. */
    uint64_t count = due < DUE_MAX ? (uint64_t)due : DUE_MAX;
    uint32_t each = (uint32_t)(count / run->publisher_count);
    uint32_t more = (uint32_t)(count % run->publisher_count);
    for (uint32_t i = 0; i < run->publisher_count && i < count; i++) {
        publish(run, &run->publishers[run->turn], each + (i < more), now);
        run->turn = (run->turn + 1) % run->publisher_count;
    }
}

/* ---- receiving --------------------------------------------------------------------------- */

/* Where the packet identifier and the payload of a PUBLISH stand. */
static bool publish_parts(const struct bench_run *run, unsigned qos, struct span body,
                          size_t *ret_id, size_t *ret_payload)
{
    if (body.len < 2)
        return false;
    size_t at = 2 + ((size_t)body.data[0] << 8 | body.data[1]);
    *ret_id = at;
    if (qos)
        at += 2;
    if (run->target.version == MQTT_V5) {
        size_t list = 0;
        for (unsigned shift = 0; at < body.len && shift < 28; shift += 7) {
            uint8_t byte = body.data[at++];
            list |= (size_t)(byte & 0x7F) << shift;
            if (!(byte & 0x80))
                break;
        }
        at += list;
    }
    *ret_payload = at;
    return at <= body.len;
}

static size_t put_ack(const struct bench_run *run, uint8_t *out, unsigned first, const uint8_t *id)
{
    size_t head = run->target.websocket ? bench_wire_head(true, out, 4) : 0;

    out += head;
    out[0] = (uint8_t)first;
    out[1] = 2;
    out[2] = id[0];
    out[3] = id[1];
    return head + 4;
}

/* Each on_…() returns the bytes of the reply that it wrote to `out`. */
static size_t on_publish(struct bench_run *run, const struct bench_client *client, unsigned flags,
                         struct span body, uint64_t now, uint8_t *out)
{
    unsigned qos = flags >> 1 & 3;
    size_t id, payload;
    struct stamp stamp;

    if (!publish_parts(run, qos, body, &id, &payload) ||
        body.len - payload != run->options->payload) {
        run->result->refused++;
        return 0;
    }
    if (payload > BENCH_PREFIX - MQTT_MAX_FIXED_HEADER - BENCH_STAMP) {
        run->result->refused++; /* more properties than we sent: a large packet's are not kept */
        return 0;
    }
    memcpy(&stamp, body.data + payload, sizeof stamp);
    if (stamp.publisher >= run->publisher_count) {
        run->result->refused++;
        return 0;
    }
    bench_histogram_add(&run->result->latency, now - stamp.time);
    if (bench_check_take(&run->check, client->index, stamp.publisher, stamp.number)) {
        struct bench_publisher *publisher = &run->publishers[stamp.publisher];
        publisher->heard++;
        settle(run, publisher);
    }
    if (qos == 0)
        return 0;
    return put_ack(run, out, (qos == 1 ? MQTT_PUBACK : MQTT_PUBREC) * 0x10u, body.data + id);
}

static size_t on_ack(struct bench_run *run, struct bench_client *client, unsigned type,
                     struct span body, uint8_t *out)
{
    bool refused = body.len > 2 && body.data[2] >= 0x80;

    if (body.len < 2)
        return 0;
    run->result->refused += refused;
    if (type == MQTT_PUBREL)
        return put_ack(run, out, MQTT_PUBCOMP << 4, body.data);
    if (type == MQTT_PUBREC && !refused)
        return put_ack(run, out, MQTT_PUBREL << 4 | 2, body.data);
    if (client->is_publisher) {
        struct bench_publisher *publisher = &run->publishers[client->index];
        publisher->acked++;
        run->acked++;
        settle(run, publisher);
    }
    return 0;
}

static size_t on_packet(struct bench_run *run, struct bench_client *client,
                        const struct mqtt_frame *frame, struct span body, uint64_t now,
                        uint8_t *out)
{
    switch (frame->type) {
    case MQTT_PUBLISH: return on_publish(run, client, frame->flags, body, now, out);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP: return on_ack(run, client, frame->type, body, out);
    case MQTT_PINGRESP: run->pongs++; return 0;
    case MQTT_SUBACK: return 0;
    case MQTT_CONNACK: /* of a session that is resumed: it must be there */
        run->result->refused += body.len < 2 || body.data[0] != 1 || body.data[1] != 0;
        return 0;
    default: run->result->refused++; return 0;
    }
}

/*
 * A large packet: of its payload only the stamp matters, so no more than its beginning is kept
 * while it arrives. When it is whole it counts as any other.
 */
static size_t skip(struct bench_run *run, struct bench_client *client, struct span *in,
                   uint64_t now)
{
    size_t part = in->len < client->skip ? in->len : (size_t)client->skip;
    struct mqtt_frame frame;

    in->data += part;
    in->len -= part;
    client->skip -= part;
    if (client->skip)
        return 0;
    (void)mqtt_frame_parse(span_of(client->held, client->held_len), &frame);
    client->held_len = 0;
    struct span body = span_of(client->held + frame.header_len, frame.body_len);
    return on_packet(run, client, &frame, body, now, run->out);
}

static void on_readable(struct bench_run *run, struct bench_client *client)
{
    enum mqtt_frame_status status;
    struct mqtt_frame frame;
    struct span in;
    size_t replies = 0;

    if (!bench_client_read(client, run->in, &in)) {
        lost_connection(run);
        return;
    }
    uint64_t now = bench_now();
    if (client->skip) {
        replies = skip(run, client, &in, now);
        if (client->skip)
            return;
    }
    while ((status = mqtt_frame_parse(in, &frame)) == MQTT_FRAME_WHOLE) {
        struct span body = span_of(in.data + frame.header_len, frame.body_len);
        replies += on_packet(run, client, &frame, body, now, run->out + replies);
        in.data += frame.header_len + frame.body_len;
        in.len -= frame.header_len + frame.body_len;
    }
    if (status == MQTT_FRAME_BAD ||
        (status == MQTT_FRAME_HEAD && frame.body_len > run->packet_max)) {
        run->result->refused++; /* nothing of ours is that large */
        lost_connection(run);
        return;
    }
    if (status == MQTT_FRAME_HEAD && in.len >= BENCH_PREFIX) {
        client->skip = (uint64_t)frame.header_len + frame.body_len - in.len;
        in.len = BENCH_PREFIX;
    }
    bench_client_hold(client, in);
    if (replies)
        send_or_keep(run, client, run->out, replies);
}

static void on_writable(struct bench_run *run, struct bench_client *client)
{
    if (!bench_client_flush(client)) {
        lost_connection(run);
        return;
    }
    watch_writing(run, client);
    if (client->is_publisher && !client->rest_len)
        settle(run, &run->publishers[client->index]);
}

/* ---- the loop ---------------------------------------------------------------------------- */

static void turn(struct bench_run *run, bool sending)
{
    struct epoll_event events[EVENTS];
    int wait = sending && run->ready_count && !run->options->rate ? 0 : TURN_WAIT;
    int count = epoll_wait(run->epoll, events, EVENTS, wait);

    for (int i = 0; i < count && !run->broken; i++) {
        struct bench_client *client = events[i].data.ptr;
        if (!client) {
            follow_clock(run, sending);
            continue;
        }
        if (events[i].events & EPOLLOUT)
            on_writable(run, client);
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            on_readable(run, client);
    }
    if (sending && !run->options->rate)
        pump(run);
}

static uint64_t arrivals_wanted(const struct bench_run *run)
{
    switch (run->audience) {
    case BENCH_ALL: return run->sent * run->subscriber_count;
    case BENCH_OWN:
    case BENCH_GROUP: return run->sent;
    case BENCH_NOBODY: break;
    }
    return run->wanted;
}

static bool is_settled(const struct bench_run *run)
{
    return run->check.heard >= arrivals_wanted(run) &&
           (!run->options->qos || run->acked >= run->sent);
}

static uint64_t progress_of(const struct bench_run *run)
{
    return run->check.heard ? run->check.heard : run->sent;
}

/* Until all has arrived, or nothing moves any more; the time at which the last thing moved. */
static uint64_t loop(struct bench_run *run, uint64_t messages)
{
    uint64_t moved = 0, moved_at = bench_now();

    while (!run->broken) {
        uint64_t now = bench_now();
        bool sending = run->deadline ? now < run->deadline : run->sent < messages;
        if (!sending && is_settled(run))
            break;
        uint64_t sum = run->sent + run->acked + run->check.heard;
        if (sum != moved || (run->options->rate && sending)) {
            moved = sum;
            moved_at = now;
        } else if (now - moved_at > PATIENCE) {
            return moved_at;
        }
        turn(run, sending);
        bench_progress(&run->shown, run->result->what, progress_of(run), run->result->unit);
    }
    return bench_now();
}

/*
 * A PINGREQ on every connection: its answer comes after all that the broker had read before, so
 * that none of its work is left out of the account, nor a message that comes too often.
 */
static void barrier(struct bench_run *run)
{
    const uint8_t packet[] = { MQTT_PINGREQ << 4, 0 };
    uint8_t ping[sizeof packet + BENCH_WIRE_HEAD];
    size_t len = bench_frame(run->target.websocket, ping, packet, sizeof packet);
    uint32_t clients = 0;
    uint64_t until = bench_now() + PATIENCE;

    run->pongs = 0;
    for (uint32_t i = 0; i < run->client_room && !run->broken; i++) {
        if (run->clients[i].wire.fd < 0)
            continue;
        clients++;
        send_or_keep(run, &run->clients[i], ping, len);
    }
    while (run->pongs < clients && !run->broken && bench_now() < until)
        turn(run, false);
}

static void account(struct bench_run *run, uint64_t ended)
{
    struct bench_result *result = run->result;
    uint64_t wanted = arrivals_wanted(run);
    bool to_nobody = run->audience == BENCH_NOBODY && wanted == 0;

    result->own_cpu = bench_own_cpu() - run->own_cpu;
    result->broker_cpu = bench_process_cpu(run->options->pid) - run->broker_cpu;
    result->memory_after = bench_process_memory(run->options->pid);
    result->elapsed = ended - run->started;
    result->sent = run->sent;
    result->done = to_nobody ? run->sent : run->check.heard;
    result->lost = wanted > run->check.heard ? wanted - run->check.heard : 0;
    if (run->options->qos && run->acked < run->sent && to_nobody)
        result->lost += run->sent - run->acked;
    result->doubled = run->check.doubled;
    result->disordered = run->check.disordered;
    result->refused += run->broken;
    result->loss_is_allowed = run->options->qos == 0 && run->options->rate;
    bench_progress_end();
}

void bench_run_begin(struct bench_run *run)
{
    run->broker_cpu = bench_process_cpu(run->options->pid);
    run->own_cpu = bench_own_cpu();
    run->started = bench_now();
}

/* The timer of an open loop: often enough for the rate, at most 2,000 times a second: batches. */
static bool start_clock(struct bench_run *run)
{
    uint32_t rate = run->options->rate < 2000 ? run->options->rate : 2000;
    long interval = rate > 1 ? 1000000000 / (long)rate : 999999999;
    struct itimerspec every = { .it_interval.tv_nsec = interval, .it_value.tv_nsec = interval };
    struct epoll_event event = { .events = EPOLLIN };

    run->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    return run->timer >= 0 && timerfd_settime(run->timer, 0, &every, NULL) == 0 &&
           epoll_ctl(run->epoll, EPOLL_CTL_ADD, run->timer, &event) == 0;
}

void bench_run_publish(struct bench_run *run, uint32_t messages)
{
    for (uint32_t i = 0; i < run->publisher_count; i++) {
        struct bench_publisher *publisher = &run->publishers[i];
        publisher->quota = messages ? messages / run->publisher_count : UINT32_MAX;
        if (messages && i < messages % run->publisher_count)
            publisher->quota++;
        publisher->sent = publisher->heard = publisher->acked = publisher->settled = 0;
        make_ready(run, publisher);
    }
    run->sent = run->acked = 0;
    bench_run_begin(run);
    run->deadline = messages ? 0 : run->started + (uint64_t)run->options->seconds * 1000000000;
    if (run->options->rate && run->timer < 0 && !start_clock(run)) {
        perror("noctule bench: timer");
        run->broken = true;
    }
    uint64_t ended = loop(run, messages);
    barrier(run);
    account(run, run->audience == BENCH_NOBODY ? bench_now() : ended);
}

void bench_run_listen(struct bench_run *run)
{
    run->deadline = 0;
    uint64_t ended = loop(run, 0);
    barrier(run);
    account(run, ended);
}
