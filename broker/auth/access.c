/* SPDX-License-Identifier: MIT */
/*
 * See access.h. Owns the lists of a worker's sessions: those that are decided under the rules that
 * hold, and those that are still to be decided anew, a slice a turn.
 */
#include "broker/auth/access.h"

#include "broker/auth/author.h"
#include "broker/auth/token_rules.h"
#include "broker/broker_state.h"
#include "broker/conn_state.h"
#include "broker/log.h"
#include "broker/store/record.h"
#include "mqtt/topic.h"

#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum {
    FILTERS_A_TURN = 2048,
    SESSIONS_A_TURN = 4096,
    TOPIC_MAX = 256,   /* longer ones are not remembered */
    REFUSALS_MAX = 32, /* said of one connection */
};

/* ---- who ---- */

static struct principal *principal_make(struct span user, bool named, unsigned listener)
{
    struct principal *principal = malloc(sizeof *principal + user.len);
    if (!principal)
        return NULL;
    atomic_init(&principal->refs, 1);
    principal->listener = listener;
    principal->named = named;
    principal->own = NULL;
    principal->user_len = (uint32_t)user.len;
    if (user.len)
        memcpy(principal->user, user.data, user.len);
    return principal;
}

bool principal_new(const struct identity *identity, struct principal **ret_principal)
{
    const char *user = identity->user;
    *ret_principal = NULL;
    if (!user && identity->any_listener)
        return true;
    struct principal *principal = principal_make(user ? span_str(user) : (struct span){ 0 },
                                                 user != NULL, identity->listener);
    if (!principal)
        return false;
    principal->own = acl_ref(identity->own);
    *ret_principal = principal;
    return true;
}

struct principal *principal_ref(struct principal *principal)
{
    if (principal)
        atomic_fetch_add_explicit(&principal->refs, 1, memory_order_relaxed);
    return principal;
}

void principal_unref(struct principal *principal)
{
    if (!principal || atomic_fetch_sub_explicit(&principal->refs, 1, memory_order_acq_rel) != 1)
        return;
    acl_unref(principal->own);
    free(principal);
}

void access_describe(const struct session *session, struct session_record *record,
                     uint8_t **ret_topics)
{
    const struct principal *principal = session->principal;
    const struct config *config = session_owner(session)->config;
    *ret_topics = NULL;
    if (!principal)
        return;
    record->owned = true;
    record->named = principal->named;
    record->user = span_of(principal->user, principal->user_len);
    record->port = config->listeners[principal->listener].port;
    record->restricted = principal->own != NULL;
    if (principal->own)
        *ret_topics = token_rules_write(principal->own, &record->topics.len);
    record->topics.data = *ret_topics;
}

/* The listener may have gone. What waits is asked about again when the client comes back. */
static unsigned find_listener(const struct config *config, uint16_t port)
{
    for (size_t i = 0; i < config->listener_count; i++)
        if (config->listeners[i].port == port)
            return (unsigned)i;
    return 0;
}

struct principal *principal_restore(const struct worker *worker, struct span user, bool named,
                                    uint16_t port)
{
    return principal_make(user, named, find_listener(worker->config, port));
}

bool access_restore(struct worker *worker, struct session *session,
                    const struct session_record *record)
{
    struct principal *principal = NULL;
    if (record->owned) {
        principal = principal_restore(worker, record->user, record->named, record->port);
        if (!principal)
            return false;
        principal->own = record->restricted ? token_rules_read(record->topics) : NULL;
    }
    access_become(worker, session, principal);
    return true;
}

/* ---- asking ---- */

struct acl_client access_client(const struct principal *principal, struct span client_id)
{
    struct acl_client client = { .client_id = client_id };
    if (principal && principal->named)
        client.user = span_of(principal->user, principal->user_len);
    return client;
}

const struct acl *access_rules(const struct worker *worker, const struct principal *principal)
{
    if (principal && principal->own)
        return principal->own;
    return worker->config->listeners[principal ? principal->listener : 0].acl;
}

bool access_may(const struct worker *worker, const struct session *session, enum acl_access access,
                struct span topic)
{
    struct acl_client client = access_client(session->principal, session_client_id(session));
    return acl_allows(access_rules(worker, session->principal), &client, access, topic);
}

uint8_t access_mark(const struct worker *worker, const struct session *session, struct span filter)
{
    static const uint8_t marks[] = { [ACL_NOTHING] = ENTRY_DENIED, [ACL_SOME] = ENTRY_ASK };
    const struct acl *rules = access_rules(worker, session->principal);
    struct acl_client client = access_client(session->principal, session_client_id(session));
    enum acl_verdict verdict = acl_allows_filter(rules, &client, ACL_READ, filter);
    return verdict == ACL_EVERYTHING ? 0 : marks[verdict];
}

/* ---- publishing ---- */

/* What a connection's last PUBLISH was told, and what has been said in the log. */
struct access_memory {
    uint32_t rules; /* the number under which it was decided */
    bool allowed;
    uint16_t topic_len; /* 0: nothing is remembered */
    uint16_t said_count;
    uint64_t said[REFUSALS_MAX]; /* hashes */
    uint8_t topic[TOPIC_MAX];
};

static struct access_memory *memory_of(struct conn *conn)
{
    if (!conn->access_memory)
        conn->access_memory = calloc(1, sizeof *conn->access_memory);
    return conn->access_memory;
}

bool access_may_publish(struct conn *conn, struct span topic)
{
    struct worker *worker = conn->worker;
    struct access_memory *last = memory_of(conn);
    if (last && last->topic_len && last->rules == worker->rules &&
        span_equal(span_of(last->topic, last->topic_len), topic))
        return last->allowed;
    bool allowed = access_may(worker, conn->session, ACL_WRITE, topic);
    if (last && topic.len <= TOPIC_MAX) {
        memcpy(last->topic, topic.data, topic.len);
        last->topic_len = (uint16_t)topic.len;
        last->allowed = allowed;
        last->rules = worker->rules;
    }
    return allowed;
}

void access_forget(struct conn *conn)
{
    free(conn->access_memory);
    conn->access_memory = NULL;
}

/* Whether something of this hash has not been said yet; it has been then. */
static bool is_news(struct conn *conn, uint64_t hash)
{
    struct access_memory *memory = memory_of(conn);
    if (!memory || memory->said_count > REFUSALS_MAX)
        return false;
    for (unsigned i = 0; i < memory->said_count; i++)
        if (memory->said[i] == hash)
            return false;
    if (memory->said_count < REFUSALS_MAX)
        memory->said[memory->said_count] = hash;
    memory->said_count++;
    return true;
}

bool access_is_news(struct conn *conn, enum mqtt_reason reason)
{
    return is_news(conn, reason);
}

void access_log_refusal(struct conn *conn, enum acl_access access, struct span topic)
{
    static const char *const verbs[] = { [ACL_READ] = "read", [ACL_WRITE] = "publish to" };
    struct session *session = conn->session;
    struct acl_client client = access_client(session->principal, session_client_id(session));
    struct acl_refusal why = { 0 };
    char text[LOG_QUOTE_MAX], id[LOG_QUOTE_MAX], user[LOG_QUOTE_MAX], rule[LOG_QUOTE_MAX];
    (void)acl_allows_or_why(access_rules(conn->worker, session->principal), &client, access, topic,
                            &why);
    struct span what = why.line ? why.filter : topic;
    if (!is_news(conn, XXH3_64bits_withSeed(what.data, what.len, (uint64_t)access)))
        return;
    log_quote(id, sizeof id, client.client_id.data, client.client_id.len);
    log_quote(user, sizeof user, client.user.data ? (const void *)client.user.data : "-",
              client.user.data ? client.user.len : 1);
    log_quote(text, sizeof text, topic.data, topic.len);
    if (conn->access_memory->said_count > REFUSALS_MAX)
        log_emit(LEVEL_NOTICE, "Client %s [%s] user %s: more refusals, which are not logged.", id,
                 conn->address, user);
    else if (why.line)
        log_emit(LEVEL_NOTICE, "Client %s [%s] user %s may not %s %s: %s:%u denies %s.", id,
                 conn->address, user, verbs[access], text, why.name, why.line,
                 log_quote(rule, sizeof rule, why.filter.data, why.filter.len));
    else
        log_emit(LEVEL_NOTICE, "Client %s [%s] user %s may not %s %s: %s.", id, conn->address, user,
                 verbs[access], text,
                 why.name ? "no rule allows it" : "it is for the broker alone");
}

/* ---- what changes ---- */

static bool is_same(const struct principal *a, const struct principal *b)
{
    if (!a || !b)
        return a == b;
    return a->listener == b->listener && a->named == b->named && acl_same(a->own, b->own) &&
           span_equal(span_of(a->user, a->user_len), span_of(b->user, b->user_len));
}

void access_become(struct worker *worker, struct session *session, struct principal *principal)
{
    bool same = is_same(session->principal, principal);
    if (!same) {
        author_unref(session->author);
        session->author = NULL;
    }
    principal_unref(session->principal);
    session->principal = principal;
    if (!same) {
        session->rules = ACCESS_UNDECIDED;
        group_members_become(worker, session);
    }
    access_adopt(worker, session);
}

/* Whatever waits in it was meant for it under other rules, or for somebody else. */
static void ask_again(const struct worker *worker, struct session *session)
{
    struct inflight *inflight = &session->inflight;
    if (!worker->guarded)
        return;
    queue_mark(&session->queue, DELIVERY_ASK);
    for (uint64_t place = inflight->base; place < inflight->next; place++)
        inflight_at(inflight, place)->delivery.flags |= DELIVERY_ASK;
}

void access_adopt(struct worker *worker, struct session *session)
{
    list_remove(&session->worker_node);
    if (session->subscription_count == 0)
        session->rules = worker->rules; /* there is nothing to decide */
    session->decided = 0;
    ask_again(worker, session);
    list_append(session->rules == worker->rules ? &worker->sessions : &worker->stale,
                &session->worker_node);
}

static bool is_guarded(const struct config *config)
{
    for (size_t i = 0; i < config->listener_count; i++)
        if (config->listeners[i].acl ||
            config->listeners[i].auth_jwt_keyfile) /* see principal.own */
            return true;
    return false;
}

void access_take_rules(struct worker *worker, uint32_t number)
{
    worker->guarded = is_guarded(worker->config);
    if (number == worker->rules)
        return;
    worker->rules = number;
    list_move(&worker->stale, &worker->sessions);
    for (struct list *node = worker->stale.next; node != &worker->stale; node = node->next)
        CONTAINER_OF(node, struct session, worker_node)->decided = 0;
}

/* Marks anew what needs it of a batch of filters, from session->decided on. Returns how many were
 * looked at. */
static uint32_t decide_some(struct worker *worker, struct session *session)
{
    struct filter_change changes[ROUTER_BATCH];
    uint32_t *at = &session->decided, looked_at = 0, count = 0;
    for (; *at < session->subscription_count && looked_at < ROUTER_BATCH; ++*at, looked_at++) {
        struct subscription *subscription = session_subscription_at(session, *at);
        if (subscription_member(session, subscription)) /* its group asks */
            continue;
        struct span filter = subscription_filter(session, subscription);
        uint8_t mark = access_mark(worker, session, filter);
        if (mark == subscription->mark)
            continue;
        subscription->mark = mark;
        changes[count++] = (struct filter_change){
            .filter = filter,
            .entry = { .subscriber = session,
                       .sub_id = subscription->sub_id,
                       .options = subscription->options | mark,
                       .kind = TREE_SESSION },
        };
    }
    if (count)
        route_change(worker, changes, count);
    return looked_at;
}

/* All filters are decided: only what is queued already is still to be asked about. */
static void settle(struct worker *worker, struct session *session)
{
    session->rules = worker->rules;
    ask_again(worker, session);
    retained_ask(session);
    list_remove(&session->worker_node);
    list_append(&worker->sessions, &session->worker_node);
}

bool access_work(struct worker *worker)
{
    uint32_t filters = 0, sessions = 0;
    while (!list_empty(&worker->stale) && filters < FILTERS_A_TURN &&
           sessions++ < SESSIONS_A_TURN) {
        struct session *session = CONTAINER_OF(worker->stale.next, struct session, worker_node);
        while (session->decided < session->subscription_count && filters < FILTERS_A_TURN)
            filters += decide_some(worker, session);
        if (session->decided >= session->subscription_count)
            settle(worker, session);
    }
    return !list_empty(&worker->stale);
}
