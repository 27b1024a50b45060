/* SPDX-License-Identifier: MIT */
/*
 * See broker.h: makes and frees what all workers share, and posts to all of them what the
 * program is told from outside.
 */
#include "broker/broker.h"

#include "broker/alloc.h"
#include "broker/auth/access.h"
#include "broker/auth/pool.h"
#include "broker/broker_state.h"
#include "broker/log.h"
#include "broker/session.h"
#include "broker/store/store.h"
#include "broker/sys.h"

#include <stdlib.h>

enum { SETTLE_ROUNDS = 10000 };

struct broker *broker_new(struct config *config, unsigned workers, const struct broker_env *env)
{
    struct broker *broker = calloc(1, sizeof *broker);
    CHECK(broker && workers > 0);
    broker->env = *env;
    env->random(&broker->seed, sizeof broker->seed);
    broker->memory.used = env->memory_used;
    broker->memory.trim = env->memory_trim;
    memory_set_limit(&broker->memory, config->memory_limit);
    broker->owns_store = !env->store;
    broker->store = env->store ? env->store : memory_store_new();
    broker->table = session_table_new(broker->seed);
    broker->tree = must_have(tree_new(broker->seed));
    atomic_init(&broker->generation, tree_generation(broker->tree));
    broker->retained = retained_new(broker->seed);
    broker->groups = groups_new(broker->seed);
    broker->certificates = must_have(calloc(config->listener_count, sizeof *broker->certificates));
    broker->pool = pool_new(broker, env->auth_threads);
    broker->worker_count = workers;
    broker->config = config_ref(config);
    broker->rules = ACCESS_UNDECIDED + 1;
    broker->workers = must_have(calloc(workers, sizeof(struct worker *)));
    for (unsigned i = 0; i < workers; i++) {
        broker->workers[i] = worker_new(broker, i, env->now);
        worker_set_config(broker->workers[i], config_ref(config));
        access_take_rules(broker->workers[i], broker->rules);
    }
    sys_start(broker->workers[0]);
    memory_start(broker->workers[0]);
    retained_look_for_expired(broker->workers[0]);
    return broker;
}

/* Without threads: lets mail that is on its way arrive, so that fences pass and sessions that
 * have ended are freed. */
void broker_settle(struct broker *broker)
{
    bool more = true;
    for (unsigned round = 0; more && round < SETTLE_ROUNDS; round++) {
        more = false;
        for (unsigned i = 0; i < broker->worker_count; i++) {
            struct worker *worker = broker->workers[i];
            worker_receive(worker, worker->now);
            more |= worker_finish(worker, worker->now);
        }
        for (unsigned i = 0; i < broker->worker_count; i++)
            more |= broker->workers[i]->mailbox.mails.count > 0;
    }
}

void broker_free(struct broker *broker)
{
    pool_free(broker->pool);
    broker_settle(broker);
    if (broker->store->ops->stop) {
        broker->store->ops->stop(broker->store);
        broker_settle(broker); /* what waited for it */
    }
    for (unsigned i = 0; i < broker->worker_count; i++)
        worker_abandon_store(broker->workers[i]);
    broker_settle(broker);
    session_table_free(broker->table);
    groups_free(broker->groups);
    for (unsigned i = 0; i < broker->worker_count; i++)
        worker_free(broker->workers[i]);
    retained_free(broker->retained);
    tree_free(broker->tree);
    if (broker->owns_store)
        broker->store->ops->free(broker->store);
    free(broker->certificates);
    config_unref(broker->config);
    free(broker->workers);
    free(broker);
}

unsigned broker_worker_count(const struct broker *broker)
{
    return broker->worker_count;
}

struct worker *broker_worker(struct broker *broker, unsigned index)
{
    return broker->workers[index];
}

void broker_stop(struct broker *broker)
{
    for (unsigned i = 0; i < broker->worker_count; i++)
        worker_post_now(broker->workers[i], &(struct mail){ .kind = MAIL_STOP }, 1);
}

/* A reload leaves the listeners as they are, and in their order. */
static bool same_rules(const struct config *a, const struct config *b)
{
    bool same = a->listener_count == b->listener_count;
    for (size_t i = 0; same && i < a->listener_count; i++)
        same = acl_same(a->listeners[i].acl, b->listeners[i].acl);
    return same;
}

void broker_reload(struct broker *broker, struct config *config)
{
    struct mail mail = { .kind = MAIL_CONFIG, .target = config };
    if (!same_rules(broker->config, config))
        broker->rules++;
    mail.number = broker->rules;
    config_unref(broker->config);
    broker->config = config_ref(config);
    for (unsigned i = 0; i < broker->worker_count; i++) {
        (void)config_ref(config);
        worker_post_now(broker->workers[i], &mail, 1);
    }
}

enum memory_level broker_memory_level(const struct broker *broker)
{
    return memory_level(&broker->memory);
}

void broker_tell_certificate(struct broker *broker, unsigned listener, uint64_t expires)
{
    atomic_store(&broker->certificates[listener], expires);
}

void broker_dump(struct broker *broker)
{
    log_emit(LEVEL_NOTICE, "%zu sessions, %lu retained messages of %lu bytes",
             session_table_count(broker->table), (unsigned long)retained_count(broker->retained),
             (unsigned long)retained_bytes(broker->retained));
    struct pool_figures logins = pool_figures(broker->pool);
    log_emit(LEVEL_NOTICE, "passwords: %u wait to be checked, %lu checked, %zu bytes in use for it",
             logins.waiting, (unsigned long)logins.computed, logins.memory);
    for (unsigned i = 0; i < broker->worker_count; i++)
        worker_post_now(broker->workers[i], &(struct mail){ .kind = MAIL_DUMP }, 1);
}

uint64_t broker_clients(const struct broker *broker)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < broker->worker_count; i++)
        sum += atomic_load_explicit(&broker->workers[i]->stats.clients_connected,
                                    memory_order_relaxed);
    return sum;
}
