/* SPDX-License-Identifier: MIT */
/*
 * What a reload changes: compares the configuration that runs with one that was just read, row by
 * row of the option table, says what differs, and keeps what needs a restart as it is. It exists so
 * that the log of a reload and what the broker then does are the same thing. One thread runs it, on
 * a configuration that nobody else has seen yet.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/alloc.h"
#include "broker/auth/acl.h"
#include "broker/auth/jwt.h"
#include "broker/auth/password_file.h"
#include "broker/config.h"
#include "broker/config_builder.h"
#include "broker/log.h"

struct comparison {
    config_change_fn *report;
    void *ctx;
    bool live_change;
};

#define LINE_MAX_BYTES (2 * OPTION_VALUE_MAX + 2 * LOG_QUOTE_MAX)

/* Reports the option if it differs, and takes the running value if a reload cannot change it. */
static void compare_option(struct comparison *c, const struct option *option, const char *whose,
                           const void *running, void *fresh)
{
    char before[OPTION_VALUE_MAX + 64];
    char after[OPTION_VALUE_MAX + 64];
    char line[LINE_MAX_BYTES];

    option_format(option, running, before, sizeof before);
    option_format(option, fresh, after, sizeof after);
    if (strcmp(before, after) == 0)
        return;
    snprintf(line, sizeof line, "%s%s: %s -> %s", whose, option->key, *before ? before : "not set",
             *after ? after : "not set");
    c->report(c->ctx, option->live, line);
    if (option->live)
        c->live_change = true;
    else
        option_copy(option, fresh, running);
}

static void compare_options(struct comparison *c, bool global, const char *whose,
                            const void *running, void *fresh)
{
    for (size_t i = 0; i < option_count; i++) {
        const struct option *option = &option_table[i];

        if (option->status == OPTION_SUPPORTED && option->size && !option->same_as &&
            (option->scope == SCOPE_GLOBAL) == global)
            compare_option(c, option, whose, running, fresh);
    }
}

static char *copy_text(const char *text)
{
    return text ? option_keep_text(text, strlen(text)) : NULL;
}

/* A listener like `from`, with nothing shared. */
static struct listener_config copy_listener(const struct listener_config *from)
{
    struct listener_config copy = *from;

    for (size_t i = 0; i < option_count; i++) {
        const struct option *option = &option_table[i];

        if (option->status != OPTION_SUPPORTED || option->scope == SCOPE_GLOBAL || !option->size ||
            option->same_as)
            continue;
        memset((char *)&copy + option->offset, 0, option->size); /* the text there is not ours */
        option_copy(option, &copy, from);
    }
    copy.passwords = from->passwords ? password_file_ref(from->passwords) : NULL;
    copy.jwt = from->jwt ? jwt_rules_ref(from->jwt) : NULL;
    copy.address = copy_text(from->address);
    copy.unix_path = copy_text(from->unix_path);
    copy.file = copy_text(from->file);
    copy.acl = acl_ref(from->acl);
    return copy;
}

static struct listener_config *find_listener(struct config *config,
                                             const struct listener_config *like)
{
    for (size_t i = 0; i < config->listener_count; i++)
        if (listener_same_place(&config->listeners[i], like))
            return &config->listeners[i];
    return NULL;
}

static void report_listener(struct comparison *c, const struct listener_config *listener,
                            const char *what)
{
    char name[LOG_QUOTE_MAX + 16];
    char line[LOG_QUOTE_MAX + 64];

    snprintf(line, sizeof line, "listener %s: %s", listener_name(listener, name, sizeof name),
             what);
    c->report(c->ctx, false, line);
}

/* The listeners that run, in their order, with the live options that were read for them. */
static void compare_listeners(struct comparison *c, const struct config *running,
                              struct config *fresh)
{
    struct listener_config *kept = must_have(calloc(running->listener_count, sizeof *kept));
    for (size_t i = 0; i < running->listener_count; i++) {
        const struct listener_config *old = &running->listeners[i];
        struct listener_config *found = find_listener(fresh, old);
        char name[LOG_QUOTE_MAX + 16];
        char whose[LOG_QUOTE_MAX + 32];

        if (!found) {
            report_listener(c, old, "is no longer configured");
            kept[i] = copy_listener(old);
            continue;
        }
        snprintf(whose, sizeof whose, "listener %s: ", listener_name(old, name, sizeof name));
        compare_options(c, false, whose, old, found);
        kept[i] = *found;
        kept[i].optional = old->optional;
        kept[i].index = old->index;
        *found = fresh->listeners[--fresh->listener_count];
    }
    for (size_t i = 0; i < fresh->listener_count; i++) {
        report_listener(c, &fresh->listeners[i], "is new");
        listener_clear(&fresh->listeners[i]);
    }
    free(fresh->listeners);
    fresh->listeners = kept;
    fresh->listener_count = running->listener_count;
    fresh->local_only = running->local_only;
}

bool config_reload_diff(const struct config *running, struct config *fresh,
                        config_change_fn *report, void *ctx)
{
    struct comparison c = { .report = report, .ctx = ctx };

    compare_options(&c, true, "", running, fresh);
    compare_listeners(&c, running, fresh);
    return c.live_change;
}
