/* SPDX-License-Identifier: MIT */
/*
 * See certificates.h. Owns the materials that hold now, and the watch of their files. Main thread,
 * but for certificates_ref().
 */
#include "transport/certificates.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/inotify.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/config.h"
#include "broker/log.h"
#include "transport/loop.h"
#include "transport/server.h"
#include "transport/tls.h"

/* A certificate and its key are two files: what is changed within this time is read together. */
#define SETTLE_TIME 300

#define DAY         (24 * 60 * 60 * UINT64_C(1000))
#define DAYS_WARNED 14

struct tls_material *certificates_ref(struct certificates *certificates, size_t listener)
{
    pthread_mutex_lock(&certificates->lock);
    struct tls_material *material = certificates->materials[listener];
    if (material)
        tls_material_ref(material);
    pthread_mutex_unlock(&certificates->lock);
    return material;
}

enum err certificates_open(struct certificates *certificates, const struct config *config,
                           char *why, size_t *ret_listener)
{
    pthread_mutex_init(&certificates->lock, NULL);
    certificates->watch_fd = -1;
    certificates->count = config->listener_count;
    certificates->materials = calloc(config->listener_count, sizeof *certificates->materials);
    certificates->tried = calloc(config->listener_count, sizeof *certificates->tried);
    if (!certificates->materials || !certificates->tried)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct listener_config *listener = &config->listeners[i];
        if (!listener->certfile)
            continue;
        certificates->tried[i] = tls_files_state(listener);
        enum err err = tls_material_load(listener, &certificates->materials[i], why);
        *ret_listener = i;
        if (err)
            return err;
    }
    return ERR_OK;
}

void certificates_done(struct certificates *certificates)
{
    if (!certificates->count)
        return;
    for (size_t i = 0; certificates->materials && i < certificates->count; i++)
        tls_material_unref(certificates->materials[i]);
    free(certificates->materials);
    free(certificates->tried);
    if (certificates->watch_fd >= 0)
        close(certificates->watch_fd);
    pthread_mutex_destroy(&certificates->lock);
    *certificates = (struct certificates){ .watch_fd = -1 };
}

/* ---- dates ----------------------------------------------------------------------------------- */

/* Under $SYS, and in the log when it is time to do something. */
static void tell_date(struct server *server, size_t i)
{
    uint64_t expires = tls_material_expires(server->certificates.materials[i]);
    uint64_t now = loop_now(&server->loops[0]);
    char name[256];
    broker_tell_certificate(server->broker, (unsigned)i, expires);
    if (expires >= now + DAYS_WARNED * DAY)
        return;
    listener_name(&server->config->listeners[i], name, sizeof name);
    if (expires < now)
        log_emit(LEVEL_WARNING, "The certificate of listener %s has expired.", name);
    else
        log_emit(LEVEL_WARNING, "The certificate of listener %s expires in %llu days.", name,
                 (unsigned long long)((expires - now) / DAY));
}

/* ---- reading again --------------------------------------------------------------------------- */

/* Returns whether there is new material. */
static bool read_again(struct server *server, size_t i, bool all)
{
    struct certificates *certificates = &server->certificates;
    const struct listener_config *listener = &server->config->listeners[i];
    char why[TLS_WHY_MAX] = "out of memory", name[256];
    struct tls_material *fresh = NULL;
    if (!certificates->materials[i])
        return false;
    uint64_t state = tls_files_state(listener);
    if (!all && state == certificates->tried[i])
        return false;
    certificates->tried[i] = state; /* from before: what changes while it is read is read again */
    listener_name(listener, name, sizeof name);
    if (tls_material_load(listener, &fresh, why) != ERR_OK) {
        log_emit(LEVEL_ERROR, "Listener %s keeps the certificate in use: %s", name, why);
        return false;
    }
    pthread_mutex_lock(&certificates->lock);
    struct tls_material *old = certificates->materials[i];
    certificates->materials[i] = fresh;
    pthread_mutex_unlock(&certificates->lock);
    tls_material_unref(old);
    log_emit(LEVEL_NOTICE, "Listener %s has read its certificate, key and authorities again.",
             name);
    tell_date(server, i);
    return true;
}

static void watch_files(struct certificates *certificates, const struct config *config);

void certificates_reload(struct server *server, bool all)
{
    bool any = false;
    for (size_t i = 0; i < server->certificates.count; i++)
        any |= read_again(server, i, all);
    watch_files(&server->certificates, server->config); /* a link may point elsewhere now */
    if (!any)
        return;
    if (!tls_new_ticket_keys()) /* or a certificate that is revoked now could resume a session */
        log_emit(LEVEL_ERROR,
                 "There are no random bytes to be had: TLS sessions begun under the old "
                 "certificates can still be resumed.");
    for (unsigned i = 0; i < server->loop_count; i++)
        loop_request(&server->loops[i], &server->loops[i].reload_tls);
}

/* ---- the watch ------------------------------------------------------------------------------- */

static void watch_folder(int fd, const char *folder)
{
    if (inotify_add_watch(fd, folder,
                          IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_ATTRIB | IN_DELETE |
                              IN_ONLYDIR) < 0)
        log_emit(LEVEL_INFORMATION, "Changes in %s are not noticed (%s); SIGHUP reads it again.",
                 folder, strerror(errno));
}

/* Folders, not files: a file is mostly replaced by another one of its name. */
static void watch_folder_of(int fd, const char *path)
{
    char folder[4096];
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) + 1 : 1;
    if (len >= sizeof folder)
        return;
    memcpy(folder, slash ? path : ".", len);
    folder[len] = '\0';
    watch_folder(fd, folder);
}

/* The folder of the name, and of the file that it links to. */
static void watch_path(int fd, const char *path)
{
    if (!path)
        return;
    char *real = realpath(path, NULL);
    watch_folder_of(fd, path);
    if (real && strcmp(real, path) != 0)
        watch_folder_of(fd, real);
    free(real);
}

static void watch_files(struct certificates *certificates, const struct config *config)
{
    for (size_t i = 0; i < certificates->count && certificates->watch_fd >= 0; i++) {
        const struct listener_config *listener = &config->listeners[i];
        if (!certificates->materials[i])
            continue;
        watch_path(certificates->watch_fd, listener->certfile);
        watch_path(certificates->watch_fd, listener->keyfile);
        watch_path(certificates->watch_fd, listener->cafile);
        watch_path(certificates->watch_fd, listener->crlfile);
        watch_path(certificates->watch_fd, listener->capath); /* it may be replaced as a whole */
        if (listener->capath)
            watch_folder(certificates->watch_fd, listener->capath);
    }
}

static void on_settled(uv_timer_t *timer)
{
    struct server *server = timer->data;
    if (!server_is_stopping(server))
        certificates_reload(server, false);
}

/* What has happened is of no interest: afterwards the files are looked at. */
static void on_change(uv_poll_t *poll, int status, int events)
{
    struct server *server = poll->data;
    char buffer[4096];
    (void)status, (void)events;
    while (read(server->certificates.watch_fd, buffer, sizeof buffer) > 0) {
    }
    uv_timer_start(&server->certificates.settle, on_settled, SETTLE_TIME, 0);
}

void certificates_start(struct server *server)
{
    struct certificates *certificates = &server->certificates;
    uv_loop_t *uv = &server->loops[0].uv;
    bool any = false;
    for (size_t i = 0; i < certificates->count; i++) {
        if (!certificates->materials[i])
            continue;
        any = true;
        tell_date(server, i);
    }
    if (!any)
        return;
    certificates->watch_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (certificates->watch_fd < 0 || uv_timer_init(uv, &certificates->settle) ||
        uv_poll_init(uv, &certificates->watch, certificates->watch_fd)) {
        log_emit(LEVEL_WARNING,
                 "Changes of certificates are not noticed; SIGHUP reads them again.");
        return;
    }
    certificates->settle.data = certificates->watch.data = server;
    uv_poll_start(&certificates->watch, UV_READABLE, on_change);
    watch_files(certificates, server->config);
}
