/* SPDX-License-Identifier: MIT */
/*
 * See login.h. Runs on the connection's worker and owns nothing beyond the call.
 */
#include "broker/auth/login.h"

#include "broker/broker_state.h"
#include "broker/conn_state.h"

#include <stdlib.h>

enum { ASSIGNED_ID_BYTES = 16, CLIENT_ID_ROOM = 256 };

/* Writes a client identifier that nobody can guess; returns its length. */
static size_t assign_id(const struct conn *conn, char *id, size_t room)
{
    static const char digits[] = "0123456789ABCDEF";
    uint8_t random[ASSIGNED_ID_BYTES];
    size_t len = strlen(conn->listener->auto_id_prefix);
    if (len > room - 2 * sizeof random)
        len = room - 2 * sizeof random;
    memcpy(id, conn->listener->auto_id_prefix, len);
    conn->worker->broker->env.random(random, sizeof random);
    for (size_t i = 0; i < sizeof random; i++) {
        id[len++] = digits[random[i] >> 4];
        id[len++] = digits[random[i] & 15];
    }
    return len;
}

static bool has_prefix(struct span text, const char *prefix)
{
    size_t len = strlen(prefix);
    return text.len >= len && memcmp(text.data, prefix, len) == 0;
}

/* The client is let in under the name conn->user: what it is called, and whether that may be. */
static void admit(struct conn *conn, struct span client_id, uint64_t now)
{
    const struct listener_config *listener = conn->listener;
    char assigned[CLIENT_ID_ROOM];
    bool nameless = client_id.len == 0;
    if (listener->use_username_as_clientid) {
        if (!conn->user || !conn->user[0]) {
            conn_refuse(conn, MQTT_NOT_AUTHORIZED, "has no user name to be its client identifier",
                        now);
            return;
        }
        client_id = span_str(conn->user);
    } else if (nameless) {
        client_id = span_of(assigned, assign_id(conn, assigned, sizeof assigned));
    }
    conn->assigned = nameless;
    if (listener->clientid_prefixes && !has_prefix(client_id, listener->clientid_prefixes)) {
        conn_refuse(conn, MQTT_NOT_AUTHORIZED,
                    "its client identifier does not begin as clientid_prefixes wants it", now);
        return;
    }
    conn_admitted(conn, client_id, now);
}

static bool take_user(struct conn *conn, struct span user)
{
    conn->user = malloc(user.len + 1);
    if (!conn->user)
        return false;
    if (user.len)
        memcpy(conn->user, user.data, user.len);
    conn->user[user.len] = '\0';
    return true;
}

void login_start(struct conn *conn, const struct mqtt_connect *connect, uint64_t now)
{
    if (!conn->listener->allow_anonymous) {
        conn_refuse(conn, MQTT_NOT_AUTHORIZED, "is not authorised: this listener allows nobody",
                    now);
        return;
    }
    if (connect->has_username && !take_user(conn, connect->username)) {
        conn_refuse(conn, MQTT_SERVER_BUSY, "no memory for its user name", now);
        return;
    }
    admit(conn, connect->client_id, now);
}
