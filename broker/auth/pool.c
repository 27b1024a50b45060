/* SPDX-License-Identifier: MIT */
/*
 * See pool.h. Owns its threads, the queue between them and the workers, and what is remembered.
 * Under the lock is only the queue: never a computation, never a mailbox.
 */
#include "broker/auth/pool.h"

#include <stdlib.h>

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "broker/alloc.h"
#include "broker/auth/login_state.h"
#include "broker/auth/password_hash.h"
#include "broker/broker_state.h"
#include "broker/locks.h"
#include "broker/log.h"

enum {
    QUEUE_BYTES_MAX = 16 * 1024 * 1024, /* of what strangers have sent */
    NICE = 10,
    SLICE_NANOSECONDS = 100000,
};

struct pool {
    struct broker *broker;         /* (i) */
    unsigned thread_count;         /* (i) wanted; 0: pool_work() alone */
    struct remembered *remembered; /* its own lock */
    atomic_ullong computed;        /* (a) */
    atomic_size_t memory;          /* (a) of the computations that are under way */

    pthread_mutex_t lock; /* rank auth */
    pthread_cond_t more;
    struct list queue;  /* (L) login.node */
    unsigned waiting;   /* (L) */
    size_t bytes;       /* (L) of them */
    unsigned running;   /* (L) threads */
    bool ending;        /* (L) */
    pthread_t *threads; /* (L) */
};

struct pool *pool_new(struct broker *broker, unsigned threads)
{
    struct pool *pool = must_have(calloc(1, sizeof *pool));
    uint8_t key[REMEMBERED_KEY];
    pool->broker = broker;
    pool->thread_count = threads;
    pool->threads = must_have(calloc(threads + 1, sizeof *pool->threads));
    broker->env.random(key, sizeof key);
    pool->remembered = remembered_new(key);
    OPENSSL_cleanse(key, sizeof key);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->more, NULL);
    list_init(&pool->queue);
    return pool;
}

void pool_free(struct pool *pool)
{
    struct list *node;
    lock_take(&pool->lock, RANK_AUTH);
    pool->ending = true;
    lock_drop(&pool->lock, RANK_AUTH);
    pthread_cond_broadcast(&pool->more);
    for (unsigned i = 0; i < pool->running; i++)
        pthread_join(pool->threads[i], NULL);
    while ((node = list_take(&pool->queue)))
        login_free(CONTAINER_OF(node, struct login, node));
    remembered_free(pool->remembered);
    pthread_cond_destroy(&pool->more);
    pthread_mutex_destroy(&pool->lock);
    free(pool->threads);
    free(pool);
}

/* ---- deciding -------------------------------------------------------------------------------- */

/* Whether the memory of another computation is to be had, below what publications are refused at. */
static bool has_memory(const struct pool *pool, size_t wanted)
{
    const struct memory *memory = &pool->broker->memory;
    uint64_t limit = atomic_load(&memory->limit);
    uint64_t used = atomic_load(&memory->bytes) + atomic_load(&pool->memory);
    return wanted == 0 || limit == 0 || used + wanted <= limit - limit / 16;
}

/* The password is computed also for a user that is not there, so that both take as long. */
static enum login_verdict compute(struct pool *pool, const struct login *login)
{
    size_t memory = password_memory(login->stored);
    if (!has_memory(pool, memory))
        return LOGIN_BUSY;
    atomic_fetch_add(&pool->memory, memory);
    enum password_verdict verdict = password_verify(login->stored, login_password(login));
    atomic_fetch_sub(&pool->memory, memory);
    atomic_fetch_add(&pool->computed, 1);
    if (verdict == PASSWORD_NO_MEMORY)
        return LOGIN_BUSY;
    return verdict == PASSWORD_RIGHT && login->known ? LOGIN_RIGHT : LOGIN_WRONG;
}

bool pool_remembers(struct pool *pool, struct login *login)
{
    if (!login->tagged)
        login->tagged = remembered_tag(pool->remembered, login_user(login), login->stored,
                                       login_password(login), login->tag);
    bool found = login->tagged && remembered_has(pool->remembered, login->tag);
    return found && login->known; /* who is not known has cost the same by then */
}

static void decide(struct pool *pool, struct login *login)
{
    if (atomic_load(&login->abandoned)) {
        login->verdict = LOGIN_BUSY;
    } else if (login->jwt) {
        login->why = jwt_verify(login->jwt, login_password(login), login->now, &login->claims);
        login->verdict = login->why ? LOGIN_WRONG : LOGIN_RIGHT;
    } else if (pool_remembers(pool, login)) { /* meanwhile: many clients may have one password */
        login->verdict = LOGIN_RIGHT;
    } else {
        login->verdict = compute(pool, login);
        if (login->verdict == LOGIN_RIGHT && login->tagged)
            remembered_add(pool->remembered, login->tag);
    }
    worker_post_now(login->worker, &(struct mail){ .kind = MAIL_LOGIN, .target = login }, 1);
}

/* ---- the queue ------------------------------------------------------------------------------- */

static struct login *take(struct pool *pool)
{
    struct list *node = list_take(&pool->queue);
    struct login *login = node ? CONTAINER_OF(node, struct login, node) : NULL;
    if (!login)
        return NULL;
    pool->waiting--;
    pool->bytes -= login_size(login);
    return login;
}

bool pool_work(struct pool *pool)
{
    lock_take(&pool->lock, RANK_AUTH);
    struct login *login = take(pool);
    lock_drop(&pool->lock, RANK_AUTH);
    if (login)
        decide(pool, login);
    return login != NULL;
}

/* What the kernel is told of a thread; there is no function of the C library for it everywhere. */
struct scheduling {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

/* Those who are connected go first: the kernel gives this thread what the workers leave, and a
 * little, so that logins go on also on a busy machine. Where it can, it takes the processor from it
 * at once when a worker wakes up (Linux 6.12: a slice that is soon over). All of this may fail. */
static void lower_priority(void)
{
    struct scheduling how = {
        .size = sizeof how, .policy = SCHED_BATCH, .nice = NICE, .runtime = SLICE_NANOSECONDS
    };
    if (syscall(SYS_sched_setattr, 0, &how, 0) != 0)
        (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
    (void)pthread_setname_np(pthread_self(), "noctule-auth");
}

static void *run(void *ctx)
{
    struct pool *pool = ctx;
    lower_priority();
    pthread_mutex_lock(&pool->lock);
    while (!pool->ending) {
        struct login *login = take(pool);
        if (!login) {
            pthread_cond_wait(&pool->more, &pool->lock);
            continue;
        }
        pthread_mutex_unlock(&pool->lock);
        decide(pool, login);
        pthread_mutex_lock(&pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Under the lock: a pool that has work has at least one thread. */
static bool has_threads(struct pool *pool)
{
    while (pool->running < pool->thread_count &&
           pthread_create(&pool->threads[pool->running], NULL, run, pool) == 0)
        pool->running++;
    return pool->thread_count == 0 || pool->running > 0;
}

bool pool_submit(struct pool *pool, struct login *login, uint32_t queue_max)
{
    lock_take(&pool->lock, RANK_AUTH);
    bool room = pool->waiting < queue_max && pool->bytes + login_size(login) <= QUEUE_BYTES_MAX &&
                has_threads(pool);
    if (room) {
        list_append(&pool->queue, &login->node);
        pool->waiting++;
        pool->bytes += login_size(login);
    }
    lock_drop(&pool->lock, RANK_AUTH);
    if (room)
        pthread_cond_signal(&pool->more);
    return room;
}

struct pool_figures pool_figures(struct pool *pool)
{
    struct pool_figures figures = { .computed = atomic_load(&pool->computed),
                                    .memory = atomic_load(&pool->memory) };
    lock_take(&pool->lock, RANK_AUTH);
    figures.waiting = pool->waiting;
    lock_drop(&pool->lock, RANK_AUTH);
    return figures;
}
