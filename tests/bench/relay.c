/* SPDX-License-Identifier: MIT */
/*
 * The bare relay: what moving the bytes costs, without a broker. It copies every PUBLISH as it is
 * from publishers to subscribers and answers CONNECT, SUBSCRIBE, PINGREQ and QoS 1 as far as the
 * load generator needs it; no sessions, topics or limits. It trusts its peers. One thread.
 *
 *   relay PORT all    every message goes to every subscriber
 *   relay PORT pairs  those of the nth connection behind the subscribers go to the nth subscriber
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS = 65536, SCRATCH = 512 * 1024, EVENTS = 512 };

struct peer {
    int number; /* of this connection, from 0, in the order of arrival */
    uint8_t version;
    bool waits;        /* for room to write */
    uint8_t *out, *in; /* to be sent; the beginning of a packet */
    size_t out_len, out_room, in_len, in_room;
};

static struct peer peers[CONNECTIONS]; /* by descriptor */
static int subscribers[CONNECTIONS], dirty[CONNECTIONS * 2];
static int subscriber_count, dirty_count, peer_count, poller;
static bool pairs;
static uint8_t scratch[SCRATCH];

static void append(uint8_t **buf, size_t *len, size_t *room, const void *data, size_t more)
{
    if (!more) /* there may be no buffer yet */
        return;
    while (*len + more > *room) {
        *room = *room ? *room * 2 : 4096;
        if (!(*buf = realloc(*buf, *room)))
            abort();
    }
    memcpy(*buf + *len, data, more);
    *len += more;
}

static void queue(int fd, const void *data, size_t len)
{
    struct peer *peer = &peers[fd];

    if (peer->out_len == 0) /* else it is in the list, or waits for room */
        dirty[dirty_count++] = fd;
    append(&peer->out, &peer->out_len, &peer->out_room, data, len);
}

static void flush(int fd)
{
    struct peer *peer = &peers[fd];
    ssize_t sent = send(fd, peer->out, peer->out_len, MSG_NOSIGNAL);

    if (sent > 0) {
        peer->out_len -= (size_t)sent;
        memmove(peer->out, peer->out + sent, peer->out_len);
    }
    if (peer->waits == (peer->out_len > 0))
        return;
    peer->waits = !peer->waits;
    struct epoll_event event = { .events = EPOLLIN | (peer->waits ? EPOLLOUT : 0), .data.fd = fd };
    epoll_ctl(poller, EPOLL_CTL_MOD, fd, &event);
}

static void forward(int fd, const uint8_t *data, size_t len)
{
    int own = peers[fd].number - subscriber_count;
    int from = pairs ? own : 0, to = pairs ? own + 1 : subscriber_count;

    for (int i = from; len && i >= 0 && i < to && i < subscriber_count; i++)
        queue(subscribers[i], data, len);
}

static void drop(int fd)
{
    close(fd);
    peers[fd].out_len = peers[fd].in_len = 0;
    peers[fd].waits = false;
    subscriber_count = 0; /* the run is over; the next one numbers from 0 */
    peer_count--;
}

/* Answers a packet; false when the connection is gone. */
static bool answer(int fd, const uint8_t *packet, size_t head)
{
    const uint8_t *body = packet + head;
    struct peer *peer = &peers[fd];

    switch (packet[0] >> 4) {
    case 1:
        peer->version = body[6];
        queue(fd, peer->version == 5 ? "\x20\3\0\0" : "\x20\2\0", peer->version == 5 ? 5 : 4);
        return true;
    case 3:
        if (packet[0] & 6) {
            const uint8_t *id = body + 2 + (body[0] << 8 | body[1]);
            queue(fd, (uint8_t[]){ 0x40, 2, id[0], id[1] }, 4);
        }
        return true;
    case 8:
        subscribers[subscriber_count++] = fd;
        queue(fd, (uint8_t[]){ 0x90, peer->version == 5 ? 4 : 3, body[0], body[1], 0, 0 },
              peer->version == 5 ? 6 : 5);
        return true;
    case 12: queue(fd, "\xd0", 2); return true;
    case 14: drop(fd); return false;
    default: return true; /* acknowledgements of subscribers */
    }
}

static void on_readable(int fd)
{
    struct peer *peer = &peers[fd];
    size_t at = 0, first = 0, len = peer->in_len; /* first: of a run of PUBLISH packets */

    if (len)
        memcpy(scratch, peer->in, len);
    peer->in_len = 0;
    ssize_t got = recv(fd, scratch + len, sizeof scratch - len, 0);
    if (got <= 0) {
        drop(fd);
        return;
    }
    len += (size_t)got;
    while (at + 2 <= len) {
        size_t head = 1, body = 0;
        for (unsigned shift = 0; at + head < len; shift += 7) {
            body |= (size_t)(scratch[at + head] & 0x7F) << shift;
            if (!(scratch[at + head++] & 0x80))
                break;
        }
        if (at + head + body > len || scratch[at + head - 1] & 0x80)
            break;
        bool is_publish = scratch[at] >> 4 == 3;
        if (!is_publish)
            forward(fd, scratch + first, at - first);
        if (!answer(fd, scratch + at, head))
            return;
        at += head + body;
        if (!is_publish)
            first = at;
    }
    forward(fd, scratch + first, at - first);
    append(&peer->in, &peer->in_len, &peer->in_room, scratch + at, len - at);
}

static void on_connection(int listener)
{
    const int yes = 1;
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

    if (fd < 0 || fd >= CONNECTIONS)
        exit(1);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    peers[fd].number = peer_count++;
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
}

int main(int argc, char *argv[])
{
    struct sockaddr_in here = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct epoll_event events[EVENTS], event = { .events = EPOLLIN };

    if (argc != 3)
        return 2;
    here.sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10));
    pairs = strcmp(argv[2], "pairs") == 0;
    poller = epoll_create1(EPOLL_CLOEXEC);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    event.data.fd = listener;
    if (poller < 0 || bind(listener, (const struct sockaddr *)&here, sizeof here) ||
        listen(listener, 1024) || epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event)) {
        perror("relay");
        return 1;
    }
    for (;;) {
        int count = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                on_connection(listener);
            else if (events[i].events & EPOLLOUT)
                flush(fd);
            else
                on_readable(fd);
        }
        while (dirty_count)
            flush(dirty[--dirty_count]);
    }
}
