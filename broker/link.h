/* SPDX-License-Identifier: MIT */
/*
 * The only way the broker reaches a connection's socket: three calls, made on the worker that owns
 * the connection. The transport embeds a struct link in its own connection; tests embed it in a
 * fake one.
 */
#pragma once

#include <stdbool.h>

struct link;

struct link_ops {
    /* Write now what conn_drain() gives, unless the socket is still busy with an earlier remainder:
     * then do nothing, and flush when that has gone. Called at the end of a turn for every
     * connection with output, and in mid-turn for a queue that fills up. A write error must not end
     * the connection inside this call: remember it and end it at the end of the turn. */
    void (*flush)(struct link *link);

    /* The broker has finished with this connection: flush what conn_drain() still gives, then close
     * the socket, then call conn_free(), never inside this call. */
    void (*close)(struct link *link);

    /* Stop or go on reading. Bytes already read when it is paused are still fed. */
    void (*pause)(struct link *link, bool paused);

    /* The peer was refused for something it did, before it was let in: it does not know a password,
     * say. May be NULL. */
    void (*refused)(struct link *link);
};

struct link {
    const struct link_ops *ops;
};
