/* SPDX-License-Identifier: MIT */
/*
 * A connection of the load generator. Owns its descriptor and two small buffers that stay unused
 * while the kernel takes everything and packets arrive whole. Never waits once bench_client_go()
 * was called.
 */
#include "transport/bench_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/time.h>
#include <unistd.h>

enum { SETUP_PATIENCE = 20, SETUP_PACKET = 4096 };

static bool trouble(const char *what, const char *why)
{
    fprintf(stderr, "noctule bench: %s: %s\n", what, why);
    return false;
}

bool bench_target_find(const char *host, uint32_t port, uint8_t version,
                       struct bench_target *ret_target)
{
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    struct addrinfo *found = NULL;
    char service[16];

    snprintf(service, sizeof service, "%u", (unsigned)port);
    int status = getaddrinfo(host, service, &hints, &found);
    if (status)
        return trouble(host, gai_strerror(status));
    /* localhost may be ::1 and 127.0.0.1, and a broker may listen on one of them alone. */
    for (const struct addrinfo *each = found; each; each = each->ai_next) {
        memcpy(&ret_target->address, each->ai_addr, each->ai_addrlen);
        ret_target->address_len = each->ai_addrlen;
        ret_target->family = each->ai_family;
        ret_target->version = version;
        int fd = socket(each->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        status = fd < 0 ? -1 : connect(fd, each->ai_addr, each->ai_addrlen);
        int why = errno;
        if (fd >= 0)
            close(fd);
        errno = why;
        if (status == 0)
            break;
    }
    freeaddrinfo(found);
    return status == 0 || trouble("no connection to the broker", strerror(errno));
}

size_t bench_encode_connect(uint8_t *out, size_t room, uint8_t version, uint32_t number)
{
    const uint8_t variable[] = { 0, 4, 'M', 'Q', 'T', 'T', version, 2 /* clean */, 0, 0 };
    char id[40];
    uint8_t payload[sizeof id + 2];
    struct mqtt_writer w = { .out = payload, .room = sizeof payload };

    snprintf(id, sizeof id, "bench-%ld-%u", (long)getpid(), (unsigned)number);
    mqtt_put_string(&w, span_str(id));
    return mqtt_encode_packet(out, room, MQTT_CONNECT << 4, version,
                              span_of(variable, sizeof variable), span_of(NULL, 0),
                              span_of(payload, w.len));
}

/* Waits for one packet; no other can be there during the set-up. Returns its body. */
static bool packet_await(int fd, enum mqtt_type type, uint8_t *buf, struct span *ret_body)
{
    struct mqtt_frame frame;
    size_t len = 0;

    for (;;) {
        ssize_t got = recv(fd, buf + len, SETUP_PACKET - len, 0);
        if (got <= 0)
            return trouble(mqtt_type_name(type), got ? strerror(errno) : "connection closed");
        len += (size_t)got;
        if (mqtt_frame_parse(span_of(buf, len), &frame) == MQTT_FRAME_WHOLE)
            break;
        if (len == SETUP_PACKET)
            return trouble(mqtt_type_name(type), "the answer is too large");
    }
    if (frame.type != type)
        return trouble(mqtt_type_name(type), "another packet came instead");
    *ret_body = span_of(buf + frame.header_len, frame.body_len);
    return true;
}

static void connack_read(struct bench_client *client, struct span body, uint8_t version)
{
    struct mqtt_properties props;
    const size_t list = 3; /* flags, reason, a length of one byte: brokers send few properties */

    client->receive_max = UINT16_MAX;
    if (version < MQTT_V5 || body.len <= list || body.data[2] != body.len - list)
        return;
    if (mqtt_properties_decode(span_of(body.data + list, body.len - list), MQTT_CONNACK, &props) ==
            MQTT_SUCCESS &&
        mqtt_has(&props, MQTT_PROP_RECEIVE_MAXIMUM))
        client->receive_max = props.receive_maximum;
}

bool bench_client_open(struct bench_client *client, const struct bench_target *target,
                       uint32_t number)
{
    const struct timeval patience = { .tv_sec = SETUP_PATIENCE };
    const int yes = 1;
    uint8_t buf[SETUP_PACKET];
    struct span body;

    client->fd = socket(target->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->fd < 0)
        return trouble("socket", strerror(errno));
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(client->fd, (const struct sockaddr *)&target->address, target->address_len))
        return trouble("connect", strerror(errno));
    size_t len = bench_encode_connect(buf, sizeof buf, target->version, number);
    if (send(client->fd, buf, len, MSG_NOSIGNAL) != (ssize_t)len)
        return trouble("CONNECT", strerror(errno));
    if (!packet_await(client->fd, MQTT_CONNACK, buf, &body))
        return false;
    if (body.len < 2 || body.data[1])
        return trouble("CONNACK", "the broker refused the connection");
    connack_read(client, body, target->version);
    return true;
}

bool bench_client_subscribe(struct bench_client *client, uint8_t version, struct span filters)
{
    const uint8_t id[] = { 0, 1 };
    uint8_t packet[SETUP_PACKET + 16];
    struct span body;
    size_t len = mqtt_encode_packet(packet, sizeof packet, MQTT_SUBSCRIBE << 4 | 2, version,
                                    span_of(id, sizeof id), span_of(NULL, 0), filters);

    if (len > sizeof packet || send(client->fd, packet, len, MSG_NOSIGNAL) != (ssize_t)len)
        return trouble("SUBSCRIBE", strerror(errno));
    if (!packet_await(client->fd, MQTT_SUBACK, packet, &body))
        return false;
    /* Version 5: a list of properties, whose length is one byte here, before the codes. */
    size_t codes = version < MQTT_V5 ? 2 : body.len > 2 ? 3u + body.data[2] : 3;
    if (codes >= body.len)
        return trouble("SUBACK", "malformed");
    for (; codes < body.len; codes++)
        if (body.data[codes] >= 0x80)
            return trouble("SUBACK", "the broker refused a subscription");
    return true;
}

bool bench_client_go(struct bench_client *client)
{
    int flags = fcntl(client->fd, F_GETFL);
    return (flags >= 0 && fcntl(client->fd, F_SETFL, flags | O_NONBLOCK) == 0) ||
           trouble("fcntl", strerror(errno));
}

void bench_client_done(struct bench_client *client)
{
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
    free(client->rest);
    free(client->held);
    client->rest = client->held = NULL;
}

/* Room for `len` bytes; it grows to what is once needed and stays. */
static void make_room(uint8_t **buf, size_t *room, size_t len)
{
    if (len <= *room)
        return;
    size_t larger = *room ? *room : 4096;
    while (larger < len)
        larger *= 2;
    *buf = realloc(*buf, larger);
    if (!*buf)
        abort();
    *room = larger;
}

static void keep(struct bench_client *client, const uint8_t *data, size_t len)
{
    make_room(&client->rest, &client->rest_room, client->rest_len + len);
    memcpy(client->rest + client->rest_len, data, len);
    client->rest_len += len;
}

static bool is_full(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

bool bench_client_send(struct bench_client *client, const uint8_t *data, size_t len)
{
    ssize_t sent = 0;

    if (client->rest_len == 0) {
        sent = send(client->fd, data, len, MSG_NOSIGNAL);
        if (sent < 0 && !is_full())
            return trouble("send", strerror(errno));
        if (sent < 0)
            sent = 0;
    }
    if ((size_t)sent < len)
        keep(client, data + sent, len - (size_t)sent);
    return true;
}

bool bench_client_flush(struct bench_client *client)
{
    if (client->rest_len == 0)
        return true;
    ssize_t sent = send(client->fd, client->rest, client->rest_len, MSG_NOSIGNAL);
    if (sent < 0)
        return is_full() || trouble("send", strerror(errno));
    client->rest_len -= (size_t)sent;
    memmove(client->rest, client->rest + sent, client->rest_len);
    return true;
}

bool bench_client_read(struct bench_client *client, uint8_t *scratch, struct span *ret_bytes)
{
    /* A packet larger than the scratch is put together in what is held: see the caller's cap. */
    if (client->held_len)
        memcpy(scratch, client->held, client->held_len);
    ssize_t got = recv(client->fd, scratch + client->held_len, BENCH_SCRATCH, 0);
    if (got == 0)
        return trouble("the broker closed a connection", "end of stream");
    if (got < 0 && !is_full())
        return trouble("recv", strerror(errno));
    *ret_bytes = span_of(scratch, client->held_len + (got > 0 ? (size_t)got : 0));
    client->held_len = 0;
    return true;
}

void bench_client_hold(struct bench_client *client, struct span rest)
{
    if (rest.len) {
        make_room(&client->held, &client->held_room, rest.len);
        memcpy(client->held, rest.data, rest.len);
    }
    client->held_len = rest.len;
}
