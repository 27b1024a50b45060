/* SPDX-License-Identifier: MIT */
/* See store_folder.h. Owns nothing; the store that it opens is the caller's. */
#include "transport/store_folder.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "broker/config.h"
#include "broker/store/lmdb.h"
#include "transport/process.h"

static const char system_folder[] = "/var/lib/noctule";

/* ---- which one ---- */

static const char *home(void)
{
    const char *path = getenv("HOME");
    if (path && *path)
        return path;
    const struct passwd *user = getpwuid(geteuid());
    return user ? user->pw_dir : "/";
}

/* systemd may name several, separated by colons. */
static bool from_supervisor(char *path)
{
    const char *named = getenv("STATE_DIRECTORY");
    if (!named || !*named)
        return false;
    snprintf(path, PATH_MAX, "%.*s", (int)strcspn(named, ":"), named);
    return true;
}

static bool of_system(char *path)
{
    snprintf(path, PATH_MAX, "%s", system_folder);
    return geteuid() == 0 || access(system_folder, W_OK | X_OK) == 0;
}

static bool of_user(char *path)
{
    const char *state = getenv("XDG_STATE_HOME");
    if (state && *state == '/')
        snprintf(path, PATH_MAX, "%s/noctule", state);
    else
        snprintf(path, PATH_MAX, "%s/.local/state/noctule", home());
    return true;
}

static void choose(const struct config *config, char *path)
{
    static bool (*const candidates[])(char *path) = { from_supervisor, of_system, of_user };
    if (config->persistence_location) {
        snprintf(path, PATH_MAX, "%s", config->persistence_location);
        return;
    }
    for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++)
        if (candidates[i](path))
            return;
}

/* ---- making it ---- */

static enum err make_folders(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int rc = mkdir(path, 0755);
        *slash = '/';
        if (rc < 0 && errno != EEXIST)
            return (enum err) - errno;
    }
    return mkdir(path, 0700) < 0 && errno != EEXIST ? (enum err) - errno : ERR_OK;
}

enum err store_folder_prepare(const struct config *config, char *path,
                              char why[STORE_FOLDER_WHY_MAX])
{
    choose(config, path);
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        path[--len] = '\0';
    enum err err = make_folders(path);
    if (!err)
        err = process_give_to_user(path, config->user);
    if (err)
        snprintf(why, STORE_FOLDER_WHY_MAX,
                 "the folder of the store cannot be made: %s: %s; persistence_location names "
                 "another, persistence false does without",
                 path, strerror(-(int)err));
    return err;
}

/* ---- opening it ---- */

static uint64_t milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

enum err store_folder_open(const struct config *config, const char *path, unsigned workers,
                           struct store **ret_store, char why[STORE_FOLDER_WHY_MAX])
{
    char date[32];
    time_t now = time(NULL);
    struct tm parts;
    strftime(date, sizeof date, "%Y%m%d-%H%M%S", localtime_r(&now, &parts));
    const struct lmdb_store_options options = {
        .path = path,
        .date = date,
        .workers = workers,
        .clock = milliseconds,
        .random = process_random,
        .interval = config->durability_interval,
        .commit_delay = config->store_commit_delay,
        .full_timeout = config->store_full_timeout * 1000,
        .min_free = config->store_min_free,
    };
    int rc = lmdb_store_open(&options, ret_store);
    const char *reason = rc == -EBUSY     ? "another broker uses it"
                         : rc == -ENOTSUP ? "a newer version of noctule has written it"
                                          : strerror(-rc);
    if (rc)
        snprintf(why, STORE_FOLDER_WHY_MAX,
                 "the store %s cannot be opened: %s; persistence_location names another, "
                 "persistence false does without",
                 path, reason);
    return (enum err)rc;
}
