/* SPDX-License-Identifier: MIT */
/*
 * The running program, from bound sockets to the last closed one. Owns the listeners, the loops
 * and their threads, the broker and the configuration in use; the main thread runs all of it. It
 * decides nothing about MQTT.
 *
 * The order of the start is the order of rights: the descriptor limit and sockets first, then the
 * background, then keys and certificates, then the user is changed, and only then is there a
 * broker and are there threads.
 */
#include "transport/server.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sys/signalfd.h>
#include <unistd.h>

#include <libwebsockets.h>

#include "broker/broker.h"
#include "broker/config.h"
#include "broker/log.h"
#include "broker/problems.h"
#include "broker/restore.h"
#include "broker/store/lmdb.h"
#include "broker/worker.h"
#include "noctule_version.h"
#include "transport/cli.h"
#include "transport/limits.h"
#include "transport/listener.h"
#include "transport/log_output.h"
#include "transport/loop.h"
#include "transport/process.h"
#include "transport/store_folder.h"
#include "transport/tls.h"

/* From SIGTERM to the end, at most; connections that are still there are cut then. */
#define STOP_TIME 4000

/* Descriptors that connections must leave to the rest of the program; an eighth, where there are
 * few. */
#define DESCRIPTORS_SPARE 32u

/* Of a log line: the addresses that are told together. */
#define LISTENING_MAX 512

bool server_is_stopping(const struct server *server)
{
    return atomic_load(&server->stopping);
}

uint64_t server_connections(const struct server *server)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < server->loop_count; i++)
        sum += atomic_load(&server->loops[i].peers_count);
    return sum;
}

struct config *server_config_ref(struct server *server)
{
    pthread_mutex_lock(&server->config_lock);
    struct config *config = config_ref(server->config);
    pthread_mutex_unlock(&server->config_lock);
    return config;
}

/* ---- the end --------------------------------------------------------------------------------- */

static void quit(struct server *server)
{
    for (unsigned i = 0; i < server->loop_count; i++)
        loop_request(&server->loops[i], &server->loops[i].quit);
}

void server_peer_gone(struct server *server)
{
    if (server_is_stopping(server) && server_connections(server) == 0)
        loop_wake(&server->loops[0]);
}

/* log_dest topic */
static void publish_line(void *ctx, const char *topic, const char *line, size_t len)
{
    struct loop *loop = ctx;
    worker_publish(loop->worker, span_str(topic), span_of(line, len), loop_now(loop));
}

void server_on_wake(struct server *server)
{
    log_output_drain(publish_line, &server->loops[0]);
    if (server_is_stopping(server) && server_connections(server) == 0)
        quit(server);
}

static void on_stop_time(uv_timer_t *timer)
{
    struct server *server = timer->data;
    log_emit(LEVEL_WARNING, "%llu connections did not end in time and are cut.",
             (unsigned long long)server_connections(server));
    quit(server);
}

static void stop(struct server *server, const char *why)
{
    if (atomic_exchange(&server->stopping, true)) {
        quit(server); /* asked twice: do not wait */
        return;
    }
    log_emit(LEVEL_NOTICE, "Stopping: %s.", why);
    supervisor_stopping();
    acceptor_close(&server->acceptor);
    broker_stop(server->broker);
    for (unsigned i = 0; i < server->loop_count; i++)
        loop_request(&server->loops[i], &server->loops[i].drop_new);
    uv_timer_start(&server->stop_timer, on_stop_time, STOP_TIME, 0);
}

/* ---- what libwebsockets says ----------------------------------------------------------------- */

/* What libwebsockets says about itself, and about mistakes of peers: it makes no difference. */
static void log_library(int level, const char *line)
{
    size_t len = strcspn(line, "\n");
    log_emit(LEVEL_WEBSOCKETS, "libwebsockets: %s%.*s", level == LLL_ERR ? "error: " : "", (int)len,
             line);
}

/* It composes its lines before we can drop them, so it is told. */
static void set_library_log(void)
{
    lws_set_log_level(log_wants(LEVEL_WEBSOCKETS) ? LLL_ERR | LLL_WARN : 0, log_library);
}

/* ---- reload ---------------------------------------------------------------------------------- */

static void log_problems(struct problems *problems)
{
    char line[LOG_LINE_MAX];
    for (size_t i = 0; i < problems->count; i++) {
        const struct problem *problem = &problems->list[i];
        log_emit(problem->severity == PROBLEM_ERROR ? LEVEL_ERROR : LEVEL_WARNING, "%s",
                 problem_line(problem, line, sizeof line));
    }
    problems_done(problems);
}

static void log_change(void *ctx, bool live, const char *line)
{
    (void)ctx;
    log_emit(live ? LEVEL_NOTICE : LEVEL_WARNING, "%s%s", line, live ? "" : " (needs a restart)");
}

static void reopen_logs(struct server *server)
{
    enum err err = log_output_reload(server->config);
    if (err)
        log_emit(LEVEL_ERROR, "The log file cannot be opened again, the old one stays in use: %s",
                 strerror(-(int)err));
}

static void reload(struct server *server)
{
    struct problems problems = { 0 };
    supervisor_reloading();
    struct config *fresh = cli_load_config(server->cli, false, &problems);
    log_problems(&problems);
    if (fresh) {
        config_reload_diff(server->config, fresh, log_change, NULL);
        struct config *old = server->config;
        pthread_mutex_lock(&server->config_lock);
        server->config = fresh;
        pthread_mutex_unlock(&server->config_lock);
        broker_reload(server->broker, fresh);
        config_unref(old);
        log_emit(LEVEL_NOTICE, "Configuration reloaded.");
    } else {
        log_emit(LEVEL_ERROR, "The configuration was not reloaded, the old one stays in use.");
    }
    reopen_logs(server);
    set_library_log();
    certificates_reload(server, true);
    supervisor_reloaded();
}

/* ---- signals --------------------------------------------------------------------------------- */

static void on_signal(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct server *server = poll->data;
    struct signalfd_siginfo info;
    while (read(server->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        int number = (int)info.ssi_signo;
        if (number == SIGTERM || number == SIGINT)
            stop(server, number == SIGTERM ? "SIGTERM" : "SIGINT");
        else if (number == SIGHUP)
            reload(server);
        else if (number == SIGUSR1)
            log_emit(LEVEL_NOTICE, server->store
                                       ? "SIGUSR1: there is nothing to save, it is on disk already."
                                       : "SIGUSR1: nothing is kept on disk, so nothing was saved.");
        else if (number == SIGUSR2)
            broker_dump(server->broker);
        else if (number == SIGRTMIN)
            reopen_logs(server);
    }
}

static enum err watch_signals(struct server *server)
{
    uv_loop_t *uv = &server->loops[0].uv;
    if (uv_timer_init(uv, &server->stop_timer) ||
        uv_poll_init(uv, &server->signal_poll, server->signal_fd))
        return ERR_IO;
    server->stop_timer.data = server->signal_poll.data = server;
    return uv_poll_start(&server->signal_poll, UV_READABLE, on_signal) ? ERR_IO : ERR_OK;
}

/* ---- the start ------------------------------------------------------------------------------- */

/* Says why the program does not start: in the log, and to whoever started it. */
static void say_start_error(const struct server *server, const struct listener_config *listener,
                            const char *why)
{
    char line[LOG_LINE_MAX];
    if (listener && listener->file)
        snprintf(line, sizeof line, "%s:%u: %s", listener->file, listener->line, why);
    else
        snprintf(line, sizeof line, "%s", why);
    log_emit(LEVEL_ERROR, "%s", line);
    if (!(server->config->log_dest & LOG_TO_STDERR))
        fprintf(stderr, "noctule: %s\n", line);
}

static unsigned workers_wanted(const struct server *server)
{
    unsigned count = server->config->workers ? server->config->workers : limits_cpus();
    return count < LOOPS_MAX ? count : LOOPS_MAX;
}

static enum err open_listeners(struct server *server)
{
    server->listeners = calloc(server->config->listener_count, sizeof *server->listeners);
    if (!server->listeners)
        return ERR_NO_MEMORY;
    server->listener_count = server->config->listener_count;
    size_t open = 0;
    for (unsigned i = 0; i < server->listener_count; i++) {
        const struct listener_config *config = &server->config->listeners[i];
        char why[LISTENER_WHY_MAX];
        enum err err = listener_open(&server->listeners[i], config, i, why);
        if (err && config->optional && (int)err != -EADDRINUSE) {
            log_emit(LEVEL_WARNING, "%s (going on without it)", why);
        } else if (err) {
            say_start_error(server, config, why);
            return err;
        }
        open += server->listeners[i].socket_count;
    }
    if (!open)
        say_start_error(server, NULL, "there is no address to listen on");
    return open ? ERR_OK : ERR_NOT_FOUND;
}

static enum err read_certificates(struct server *server)
{
    if (!tls_new_ticket_keys()) {
        say_start_error(server, NULL, "there are no random bytes to be had");
        return ERR_IO;
    }
    char why[TLS_WHY_MAX] = "out of memory";
    size_t at = 0;
    enum err err = certificates_open(&server->certificates, server->config, why, &at);
    if (err) {
        say_start_error(server, &server->config->listeners[at], why);
        server->exit_code = CLI_EXIT_USAGE;
    }
    return err;
}

static enum err watch_certificates(struct server *server)
{
    certificates_start(server);
    return ERR_OK;
}

static enum err open_loops(struct server *server)
{
    unsigned count = workers_wanted(server);
    set_library_log();
    server->loops = calloc(count, sizeof *server->loops);
    if (!server->loops)
        return ERR_NO_MEMORY;
    while (server->loop_count < count) {
        unsigned i = server->loop_count++;
        enum err err = loop_init(&server->loops[i], server, i, server->config);
        if (err) {
            say_start_error(
                server, NULL,
                "a worker cannot be made; is libwebsockets-evlib-uv installed, are there enough "
                "descriptors (ulimit -n)? log_type websockets says more");
            return err;
        }
    }
    return ERR_OK;
}

static uint64_t wall_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static unsigned auth_threads_wanted(const struct config *config)
{
    return config->auth_threads ? config->auth_threads : (limits_cpus() + 3) / 4;
}

static enum err make_store_folder(struct server *server)
{
    char why[STORE_FOLDER_WHY_MAX];
    if (!server->config->persistence)
        return ERR_OK;
    enum err err = store_folder_prepare(server->config, server->store_path, why);
    if (err)
        say_start_error(server, NULL, why);
    return err;
}

/* Without threads: what is damaged is found out in a child process. */
static enum err open_store(struct server *server)
{
    char why[STORE_FOLDER_WHY_MAX];
    if (!server->config->persistence)
        return ERR_OK;
    enum err err = store_folder_open(server->config, server->store_path, server->loop_count,
                                     &server->store, why);
    if (err)
        say_start_error(server, NULL, why);
    return err;
}

static void wake_worker(void *ctx, unsigned index)
{
    struct broker *broker = ctx;
    worker_wake(broker_worker(broker, index));
}

static enum err read_store(struct server *server)
{
    if (!server->store) {
        log_emit(LEVEL_NOTICE, "persistence false: a restart forgets everything.");
        return ERR_OK;
    }
    int err = broker_restore(server->broker);
    if (err) {
        char why[128];
        snprintf(why, sizeof why, "what the store has kept cannot be read: %s", strerror(-err));
        say_start_error(server, NULL, why);
        return (enum err)err;
    }
    lmdb_store_start(server->store, wake_worker, server->broker);
    return ERR_OK;
}

static enum err open_broker(struct server *server)
{
    struct broker_env env = {
        .random = process_random,
        .now = loop_now(&server->loops[0]),
        .version = NOCTULE_VERSION,
        .wall_clock = wall_clock,
        .memory_used = process_memory_used,
        .memory_trim = process_memory_trim,
        .auth_threads = auth_threads_wanted(server->config),
        .store = server->store,
    };
    server->broker = broker_new(server->config, server->loop_count, &env);
    for (unsigned i = 0; i < server->loop_count; i++)
        loop_attach_worker(&server->loops[i], broker_worker(server->broker, i));
    log_output_on_topics(loop_wake, &server->loops[0]);
    return ERR_OK;
}

static void *run_loop(void *ctx)
{
    struct loop *loop = ctx;
    loop_run(loop);
    loop_close(loop);
    return NULL;
}

static enum err start_threads(struct server *server)
{
    while (server->loops_running + 1 < server->loop_count) {
        struct loop *loop = &server->loops[server->loops_running + 1];
        int error = pthread_create(&loop->thread, NULL, run_loop, loop);
        if (error) {
            say_start_error(server, NULL, "a worker's thread cannot be started");
            return (enum err) - error;
        }
        char name[16];
        snprintf(name, sizeof name, "noctule-%u", loop->index);
        (void)pthread_setname_np(loop->thread, name);
        server->loops_running++;
    }
    return ERR_OK;
}

static enum err open_acceptor(struct server *server)
{
    uint64_t limit = server->descriptor_limit;
    uint64_t spare = limit / 8 < DESCRIPTORS_SPARE ? limit / 8 : DESCRIPTORS_SPARE;
    uint64_t used = limits_open_descriptors() + spare, seed;
    process_random(&seed, sizeof seed);
    if (!gate_init(&server->gate, seed))
        return ERR_NO_MEMORY;
    return acceptor_open(&server->acceptor, server, limit > used ? limit - used : 1);
}

static enum err enter_process(struct server *server)
{
    const struct config *config = server->config;
    if (server->cli->daemonize) {
        enum err err = process_daemonize(&server->ready_fd);
        if (err) {
            say_start_error(server, NULL, "cannot go to the background");
            return err;
        }
    }
    if (config->pid_file) {
        enum err err = process_write_pid(config->pid_file);
        if (err) {
            char why[512];
            snprintf(why, sizeof why, "pid_file %s: %s", config->pid_file, strerror(-(int)err));
            say_start_error(server, NULL, why);
            return err;
        }
        server->pid_file_written = true;
    }
    return ERR_OK;
}

static enum err become_user(struct server *server)
{
    char why[PROCESS_WHY_MAX];
    enum err err = process_become_user(server->config->user, why);
    if (err) {
        say_start_error(server, NULL, why);
        server->exit_code = CLI_EXIT_USAGE;
    }
    return err;
}

static enum err set_limits(struct server *server)
{
    enum err err = limits_set_descriptors(server->config, workers_wanted(server),
                                          &server->descriptor_limit);
    if (err)
        say_start_error(server, NULL, "the limit of open files cannot be set");
    return err;
}

static enum err start(struct server *server)
{
    static enum err (*const steps[])(struct server *) = {
        set_limits,        open_listeners,     read_certificates, enter_process, open_loops,
        make_store_folder, become_user,        open_store,        open_broker,   read_store,
        watch_signals,     watch_certificates, open_acceptor,     start_threads,
    };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        enum err err = steps[i](server);
        if (err)
            return err;
    }
    return ERR_OK;
}

/* Whether the two are told on one line: 127.0.0.1 and ::1 of a port, as a rule. */
static bool is_told_with(const struct listener_config *a, const struct listener_config *b)
{
    return a->protocol == b->protocol && a->port == b->port && !a->certfile == !b->certfile &&
           !a->unix_path == !b->unix_path;
}

/* "listening on mqtt 127.0.0.1:1883 and [::1]:1883": listener `first` and those that stand next to
 * it and are like it. Returns the first that is not. */
static size_t say_listening(const struct server *server, size_t first)
{
    const struct listener_config *configs = server->config->listeners;
    char line[LISTENING_MAX], name[256];
    size_t i = first, len = 0;
    for (; i < server->listener_count && is_told_with(&configs[first], &configs[i]); i++) {
        if (!server->listeners[i].socket_count)
            continue;
        listener_name(&configs[i], name, sizeof name);
        const char *and = len ? " and " : "";
        if (len + strlen(and) + strlen(name) >= sizeof line)
            break; /* the rest gets a line of its own */
        len += (size_t)snprintf(line + len, sizeof line - len, "%s%s", and, name);
    }
    if (len)
        log_emit(LEVEL_NOTICE, "listening on %s %s%s",
                 configs[first].protocol == LISTENER_WEBSOCKETS ? "websockets" : "mqtt", line,
                 configs[first].certfile ? " (TLS)" : "");
    return i;
}

/* The first listener that anybody on this machine may try by its port alone, NULL: none. */
static const struct listener_config *first_to_try(const struct server *server)
{
    for (size_t i = 0; i < server->listener_count; i++) {
        const struct listener_config *config = &server->config->listeners[i];
        bool here = !config->address || strcmp(config->address, "localhost") == 0 ||
                    strcmp(config->address, "127.0.0.1") == 0;
        if (server->listeners[i].socket_count && config->protocol == LISTENER_MQTT && here &&
            config->allow_anonymous && !config->certfile && !config->unix_path)
            return config;
    }
    return NULL;
}

static void say_ready(struct server *server)
{
    if (server->store)
        log_emit(LEVEL_NOTICE, "storing in %s", server->store_path);
    for (size_t i = 0; i < server->listener_count;)
        i = say_listening(server, i);
    const struct listener_config *plain = first_to_try(server);
    if (plain)
        log_emit(LEVEL_NOTICE,
                 "try it: mosquitto_sub -p %u -t '#' -v, and in another terminal "
                 "mosquitto_pub -p %u -t hello -m world",
                 (unsigned)plain->port, (unsigned)plain->port);
    if (server->ready_fd >= 0) {
        log_output_detach();
        process_ready(server->ready_fd);
        server->ready_fd = -1;
    }
    if (supervisor_ready(&server->supervisor, server) != ERR_OK)
        log_emit(LEVEL_WARNING, "There is no timer for the watchdog: it will get no sign of life.");
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void close_all(struct server *server)
{
    log_output_on_topics(NULL, NULL);
    if (!server_is_stopping(server))
        quit(server);
    for (unsigned i = 1; i <= server->loops_running; i++)
        pthread_join(server->loops[i].thread, NULL);
    if (server->acceptor.open)
        acceptor_close(&server->acceptor);
    for (unsigned i = 0; i < server->loop_count; i++)
        loop_close(&server->loops[i]);
    acceptor_done(&server->acceptor);
    gate_done(&server->gate);
    certificates_done(&server->certificates);
    for (size_t i = 0; i < server->listener_count; i++)
        listener_close(&server->listeners[i]);
    if (server->broker)
        broker_free(server->broker);
    if (server->store)
        server->store->ops->free(server->store);
    for (unsigned i = 0; i < server->loop_count; i++) /* now nobody can wake them up any more */
        loop_done(&server->loops[i]);
    if (server->pid_file_written)
        unlink(server->config->pid_file);
    if (server->signal_fd >= 0)
        close(server->signal_fd);
    free(server->loops);
    free(server->listeners);
    config_unref(server->config);
    pthread_mutex_destroy(&server->config_lock);
}

int server_run(const struct cli *cli, struct config *config)
{
    struct server server = {
        .cli = cli, .config = config, .signal_fd = -1, .ready_fd = -1, .acceptor = { .spare = -1 }
    };
    pthread_mutex_init(&server.config_lock, NULL);
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    server.wall_base = (uint64_t)wall.tv_sec * 1000 + (uint64_t)wall.tv_nsec / 1000000 -
                       uv_hrtime() / 1000000;
    log_emit(LEVEL_NOTICE, "noctule %s", NOCTULE_VERSION);
    enum err err = process_take_signals(&server.signal_fd);
    if (!err)
        err = start(&server);
    if (err && !server.exit_code)
        server.exit_code = 1;
    if (!err) {
        say_ready(&server);
        loop_run(&server.loops[0]);
        loop_close(&server.loops[0]);
    }
    close_all(&server);
    if (!err)
        log_emit(LEVEL_NOTICE, "noctule ended.");
    return server.exit_code;
}
