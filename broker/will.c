/* SPDX-License-Identifier: MIT */
/*
 * See will.h. A delayed will waits in its session, whose timer sends it after the delay or at
 * the session's end, whichever is first [MQTT5-3.1.3-9].
 */
#include "broker/will.h"

#include "broker/auth/access.h"
#include "broker/broker_state.h"
#include "broker/log.h"
#include "broker/quota.h"
#include "broker/session.h"

enum fate {
    FORGET,
    SEND,          /* at once, whatever the delay */
    SEND_OR_DELAY, /* after the will delay, if there is one and the session lives on */
};

/* What happens to the will, by the end of the connection. */
static const enum fate fates[CONN_ENDS] = {
    [END_DISCONNECT] = FORGET,                  /* [MQTT5-3.14.4-3], [MQTT311-3.14.4-3] */
    [END_DISCONNECT_WITH_WILL] = SEND_OR_DELAY, /* [MQTT5-3.1.2-8] */
    [END_NETWORK] = SEND_OR_DELAY,
    [END_SERVER] = SEND_OR_DELAY,     /* also a keep-alive that ran out */
    [END_TAKEN_OVER] = SEND_OR_DELAY, /* delayed: the new connection of the session cancels it */
    [END_SHUTDOWN] =
        SEND_OR_DELAY, /* a delayed one of a session that outlives the broker is kept */
};

/* One retained message too many is sent all the same, and not kept: its client is gone, so nobody can be
 * told. */
static bool is_retained(struct worker *worker, const struct session *session,
                        const struct message *will)
{
    char name[LOG_QUOTE_MAX];
    if (will->payload_len == 0 || quota_retains(worker, message_topic(will)))
        return true;
    log_emit(LEVEL_NOTICE, "The will of %s is not retained: there are max_retained_messages.",
             log_quote(name, sizeof name, session->client_id, session->client_id_len));
    return false;
}

/* The will is given away. */
static void send(struct worker *worker, struct session *session, struct message *will, uint64_t now)
{
    char name[LOG_QUOTE_MAX];
    if (!access_may(worker, session, ACL_WRITE, message_topic(will))) {
        STAT_ADD(&worker->stats, publish_denied, 1);
        STAT_ADD(&worker->stats, publish_dropped, 1);
        log_emit(LEVEL_NOTICE, "The will of %s is not sent: it may not publish to its topic.",
                 log_quote(name, sizeof name, session->client_id, session->client_id_len));
        message_unref(will);
        return;
    }
    log_emit(LEVEL_INFORMATION, "Sending the will of %s.",
             log_quote(name, sizeof name, session->client_id, session->client_id_len));
    STAT_ADD(&worker->stats, wills_sent, 1);
    message_will_is_sent(will);
    if (will->expires) /* a duration until now */
        will->expires += now;
    struct route route = { .message = will, .publisher = session };
    route.retained = will->retain && is_retained(worker, session, will);
    (void)route_message(worker, &route, now);
}

void will_send_delayed(struct worker *worker, struct session *session, uint64_t now)
{
    struct message *will = session->will;
    session->will = NULL;
    send(worker, session, will, now);
}

void will_decide(struct conn *conn, enum conn_end end, uint64_t now)
{
    struct session *session = conn->session;
    struct message *will = conn->will;
    if (!will || !session) /* without a session, the will goes with its connection */
        return;
    conn->will = NULL;
    session->changed = true;
    bool lives_on = session->expiry > 0 && !session->taken_by_clean_start;
    if (fates[end] == SEND_OR_DELAY && conn->will_delay > 0 && lives_on) {
        session->will = will;
        session->will_delay = conn->will_delay;
        session->will_at = now + (uint64_t)conn->will_delay * 1000;
        return;
    }
    if (fates[end] == FORGET)
        message_unref(will);
    else
        send(conn->worker, session, will, now);
}
