/* SPDX-License-Identifier: MIT */
/*
 * What becomes of the lines of a configuration once all of them are read: which listeners there
 * are, what each of them takes from the options before the first one and from those for all, and
 * whether it fits together. It exists apart from config.c because none of it is about text. One
 * thread runs it, at start or on a reload; it looks at no file.
 */
#include "broker/config_builder.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <unistd.h>

#include "broker/alloc.h"
#include "broker/auth/acl.h"
#include "broker/auth/acl_file.h"
#include "broker/auth/jwt.h"
#include "broker/auth/password_file.h"
#include "broker/log.h"

static void *zeroed(size_t count, size_t size)
{
    return must_have(calloc(count ? count : 1, size));
}

/* A row that has a field of its own in a listener. */
static bool is_listener_field(const struct option *option)
{
    return option->status == OPTION_SUPPORTED && option->scope != SCOPE_GLOBAL && option->size &&
           !option->same_as;
}

static bool is_text(const struct option *option)
{
    return option->type >= OPT_TEXT && option->type <= OPT_DIRECTORY;
}

void listener_preset(struct listener_config *listener)
{
    char why[OPTION_WHY_MAX];

    for (size_t i = 0; i < option_count; i++)
        if (is_listener_field(&option_table[i]) && option_table[i].preset)
            option_set(&option_table[i], listener, option_table[i].preset, false, why);
}

void listener_clear(struct listener_config *listener)
{
    for (size_t i = 0; i < option_count; i++)
        if (is_listener_field(&option_table[i]) && is_text(&option_table[i]))
            option_clear(&option_table[i], listener);
    password_file_unref(listener->passwords);
    jwt_rules_unref(listener->jwt);
    free(listener->address);
    free(listener->unix_path);
    free(listener->file);
    acl_unref(listener->acl);
    *listener = (struct listener_config){ 0 };
}

static void draft_init(struct draft *draft)
{
    *draft = (struct draft){ .set = zeroed(option_count, sizeof *draft->set) };
    listener_preset(&draft->values);
}

static void draft_done(struct draft *draft)
{
    listener_clear(&draft->values);
    free(draft->set);
}

void builder_init(struct builder *builder, struct problems *problems)
{
    *builder = (struct builder){
        .config = config_new(),
        .set = zeroed(option_count, sizeof *builder->set),
        .current = NO_LISTENER,
        .problems = problems,
    };
    draft_init(&builder->before);
    draft_init(&builder->shared);
}

void builder_done(struct builder *builder)
{
    config_unref(builder->config);
    draft_done(&builder->before);
    draft_done(&builder->shared);
    for (size_t i = 0; i < builder->listener_count; i++)
        draft_done(&builder->listeners[i]);
    free(builder->listeners);
    free(builder->set);
    for (size_t i = 0; i < builder->name_count; i++)
        free(builder->names[i]);
    free(builder->names);
}

const char *builder_keep_name(struct builder *builder, const char *name)
{
    char **names = must_have(realloc(builder->names, (builder->name_count + 1) * sizeof *names));
    builder->names = names;
    names[builder->name_count] = option_keep_text(name, strlen(name));
    return names[builder->name_count++];
}

static void complain_v(struct builder *builder, struct origin origin,
                       enum problem_severity severity, const char *format, va_list args)
    __attribute__((format(printf, 4, 0)));

static void complain_v(struct builder *builder, struct origin origin,
                       enum problem_severity severity, const char *format, va_list args)
{
    char text[PROBLEM_TEXT_MAX];

    vsnprintf(text, sizeof text, format, args);
    problems_add(builder->problems, severity, origin.file, origin.line, "%s", text);
}

void complain_at(struct builder *builder, struct origin origin, enum problem_severity severity,
                 const char *format, ...)
{
    va_list args;

    va_start(args, format);
    complain_v(builder, origin, severity, format, args);
    va_end(args);
}

void complain(struct builder *builder, enum problem_severity severity, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    complain_v(builder, builder->here, severity, format, args);
    va_end(args);
}

static struct draft *add_draft(struct builder *builder)
{
    struct draft *listeners = must_have(
        realloc(builder->listeners, (builder->listener_count + 1) * sizeof *listeners));
    builder->listeners = listeners;
    return &listeners[builder->listener_count++];
}

static void set_place(struct listener_config *listener, struct origin origin)
{
    listener->file = origin.file ? option_keep_text(origin.file, strlen(origin.file)) : NULL;
    listener->line = origin.line;
}

struct draft *builder_add_listener(struct builder *builder, uint16_t port, const char *address,
                                   const char *unix_path)
{
    struct draft *draft = add_draft(builder);

    draft_init(draft);
    draft->values.port = port;
    draft->values.address = address ? option_keep_text(address, strlen(address)) : NULL;
    draft->values.unix_path = unix_path ? option_keep_text(unix_path, strlen(unix_path)) : NULL;
    set_place(&draft->values, builder->here);
    builder->current = builder->listener_count - 1;
    return draft;
}

/* ---- which listeners there are ---- */

/* The first listener option that was set before the first listener, or one that is set nowhere. */
static struct origin first_before(const struct builder *builder)
{
    for (size_t i = 0; i < option_count; i++)
        if (option_table[i].scope == SCOPE_LISTENER && builder->before.set[i].file)
            return builder->before.set[i];
    return (struct origin){ 0 };
}

/* mosquitto's default listener: there is one when port or bind_address says so, and also when
 * listener options stand in a file without listeners. It owns the options before the first
 * listener; nobody inherits them then. */
static void add_default_listener(struct builder *builder)
{
    struct origin origin = builder->default_listener;
    struct draft *draft;

    if (!origin.file && builder->listener_count == 0)
        origin = first_before(builder);
    if (!origin.file)
        return;
    draft = add_draft(builder);
    *draft = builder->before;
    draft_init(&builder->before);
    if (draft->values.port == 0)
        draft->values.port = 1883;
    set_place(&draft->values, origin);
}

/* Takes a value from `from`, where it was set, if the listener has none of its own. */
static void inherit(struct draft *listener, const struct draft *from, const struct option *option)
{
    size_t i = option_index(option);

    if (listener->set[i].file || !from->set[i].file)
        return;
    option_copy(option, &listener->values, &from->values);
    listener->set[i] = from->set[i];
}

static void complete_listeners(struct builder *builder)
{
    for (size_t i = 0; i < option_count; i++) {
        const struct option *option = &option_table[i];

        if (!is_listener_field(option))
            continue;
        for (size_t n = 0; n < builder->listener_count; n++)
            inherit(&builder->listeners[n],
                    option->scope == SCOPE_SECURITY ? &builder->shared : &builder->before, option);
        /* A permission spreads to no listener that was not meant. */
        if (option->scope == SCOPE_SECURITY && builder->before.set[i].file &&
            builder->listener_count)
            complain_at(
                builder, builder->before.set[i], PROBLEM_WARNING,
                "%s has no effect here: with per_listener_settings it belongs behind a listener",
                option->key);
    }
}

static void add_built_in(struct builder *builder, uint16_t port, enum listener_protocol protocol,
                         bool optional)
{
    static const char *const loopback[] = { "127.0.0.1", "::1" };

    for (size_t a = 0; a < 2; a++) {
        struct draft *draft = add_draft(builder);

        draft_init(draft);
        draft->values.address = option_keep_text(loopback[a], strlen(loopback[a]));
        draft->values.port = port;
        draft->values.protocol = protocol;
        draft->values.optional = optional || a == 1;
        draft->values.allow_anonymous = true;
        for (size_t i = 0; i < option_count; i++) {
            if (!is_listener_field(&option_table[i]))
                continue;
            inherit(draft, &builder->shared, &option_table[i]);
            inherit(draft, &builder->before, &option_table[i]);
        }
    }
}

static void add_built_in_listeners(struct builder *builder,
                                   const struct config_overrides *overrides)
{
    static const uint16_t usual[] = { 1883 };
    bool chosen = overrides && overrides->port_count;
    const uint16_t *ports = chosen ? overrides->ports : usual;
    size_t count = chosen ? overrides->port_count : 1;

    builder->config->local_only = true;
    for (size_t i = 0; i < count; i++)
        add_built_in(builder, ports[i], LISTENER_MQTT, false);
    /* Nobody who asks for a port of his own should fail because another broker has the WebSocket
     * port. */
    add_built_in(builder, 9001, LISTENER_WEBSOCKETS, chosen);
}

/* ---- what must fit together ---- */

static struct origin set_at(const struct draft *listener, const char *key)
{
    return listener->set[option_index(option_find(key))];
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

const struct known_plugin known_plugins[KNOWN_PLUGINS] = {
    { "mosquitto_acl_file", "acl_file", "plugin_opt_acl_file" },
    { "mosquitto_password_file", "password_file", "plugin_opt_password_file" },
};

static void check_plugins(struct builder *builder, const struct draft *draft)
{
    for (size_t i = 0; i < KNOWN_PLUGINS; i++)
        if (draft->plugins[i].file && !set_at(draft, known_plugins[i].key).file)
            complain_at(builder, draft->plugins[i], PROBLEM_ERROR,
                        "%s, with the path of the file, is missing behind it",
                        known_plugins[i].option);
}

/* Reads the rules, a file once however many listeners have it. A configuration that comes from
 * memory looks at no file, so its rules allow nothing. */
static void load_acl(struct builder *builder, size_t index)
{
    struct listener_config *listener = &builder->listeners[index].values;
    char quoted[LOG_QUOTE_MAX];

    if (!listener->acl_file)
        return;
    for (size_t i = 0; i < index && !listener->acl; i++)
        if (same_text(builder->listeners[i].values.acl_file, listener->acl_file)) {
            listener->acl = acl_ref(builder->listeners[i].values.acl);
            return;
        }
    size_t errors = builder->problems->errors;
    listener->acl = builder->in_memory
                        ? acl_file_parse("", 0, listener->acl_file, builder->problems)
                        : acl_file_load(listener->acl_file, builder->problems);
    if (!listener->acl && builder->problems->errors == errors)
        complain_at(
            builder, set_at(&builder->listeners[index], "acl_file"), PROBLEM_ERROR,
            "acl_file: %s cannot be read: %s",
            log_quote(quoted, sizeof quoted, listener->acl_file, strlen(listener->acl_file)),
            strerror(errno));
}

static void read_proxies(struct builder *builder)
{
    struct config *config = builder->config;
    struct origin origin = builder->set[option_index(option_find("trusted_proxies"))];
    struct span bad;
    char quoted[LOG_QUOTE_MAX];

    if (config->trusted_proxies &&
        !networks_parse(span_str(config->trusted_proxies), &config->proxies, &bad))
        complain_at(builder, origin, PROBLEM_ERROR,
                    "trusted_proxies: \"%s\" is no address or network, or there are more than %d",
                    log_quote(quoted, sizeof quoted, bad.data, bad.len), NETWORKS_MAX);
}

/* Whoever may say where he comes from can be anybody. */
static void check_proxy(struct builder *builder, const struct draft *listener)
{
    const struct listener_config *l = &listener->values;

    if (l->enable_proxy_protocol && !l->unix_path && !builder->config->trusted_proxies)
        complain_at(builder, set_at(listener, "enable_proxy_protocol"), PROBLEM_ERROR,
                    "enable_proxy_protocol needs trusted_proxies, the addresses of the proxies");
}

static void check_tls(struct builder *builder, const struct draft *listener)
{
    static const char *const needs_certfile[] = { "cafile",         "capath",      "ciphers",
                                                  "ciphers_tls1.3", "tls_version", "crlfile" };
    const struct listener_config *l = &listener->values;
    char name[LOG_QUOTE_MAX];

    listener_name(l, name, sizeof name);
    if (l->certfile && !l->keyfile)
        complain_at(builder, set_at(listener, "certfile"), PROBLEM_ERROR,
                    "certfile needs a keyfile: listener %s", name);
    if (l->keyfile && !l->certfile)
        complain_at(builder, set_at(listener, "keyfile"), PROBLEM_ERROR,
                    "keyfile needs a certfile: listener %s", name);
    if (l->require_certificate && !l->certfile)
        complain_at(builder, set_at(listener, "require_certificate"), PROBLEM_ERROR,
                    "require_certificate needs certfile and keyfile: listener %s speaks no TLS",
                    name);
    else if (l->require_certificate && !l->cafile && !l->capath)
        complain_at(builder, set_at(listener, "require_certificate"), PROBLEM_ERROR,
                    "require_certificate needs cafile or capath: listener %s trusts nobody", name);
    for (size_t i = 0; i < sizeof needs_certfile / sizeof *needs_certfile; i++) {
        struct origin origin = set_at(listener, needs_certfile[i]);
        struct origin before = set_at(&builder->before, needs_certfile[i]);

        /* What was meant for all listeners need not suit each of them. */
        if (origin.file && !before.file && !l->certfile && !l->keyfile)
            complain_at(builder, origin, PROBLEM_WARNING,
                        "%s has no effect without certfile and keyfile: listener %s speaks no TLS",
                        needs_certfile[i], name);
    }
}

/* A name that nobody has proved would be anybody's. */
static void check_identity(struct builder *builder, const struct draft *listener)
{
    static const char *const keys[] = { "use_identity_as_username", "use_subject_as_username" };
    const struct listener_config *l = &listener->values;
    const bool used[] = { l->use_identity_as_username, l->use_subject_as_username };
    char name[LOG_QUOTE_MAX];

    listener_name(l, name, sizeof name);
    for (size_t i = 0; i < 2; i++)
        if (used[i] && !l->require_certificate)
            complain_at(builder, set_at(listener, keys[i]), PROBLEM_ERROR,
                        "%s needs require_certificate true: clients of listener %s show none",
                        keys[i], name);
    if (used[0] && used[1])
        complain_at(builder, set_at(listener, keys[1]), PROBLEM_ERROR,
                    "only one of %s and %s: listener %s", keys[0], keys[1], name);
}

bool listener_same_place(const struct listener_config *a, const struct listener_config *b)
{
    return a->port == b->port && same_text(a->address, b->address) &&
           same_text(a->unix_path, b->unix_path);
}

static void check_places(struct builder *builder)
{
    char name[LOG_QUOTE_MAX];

    for (size_t i = 0; i < builder->listener_count; i++) {
        const struct listener_config *l = &builder->listeners[i].values;
        struct origin origin = { l->file, l->line };

        for (size_t k = 0; k < i; k++) {
            const struct listener_config *other = &builder->listeners[k].values;

            if (builder->listeners[i].broken || builder->listeners[k].broken)
                continue;
            if (!listener_same_place(l, other) || (l->socket_domain != other->socket_domain &&
                                                   l->socket_domain && other->socket_domain))
                continue;
            complain_at(builder, origin, PROBLEM_ERROR,
                        "there is a listener on %s already (line %u)",
                        listener_name(l, name, sizeof name), other->line);
            break;
        }
        if (l->unix_path && l->socket_domain)
            complain_at(builder, set_at(&builder->listeners[i], "socket_domain"), PROBLEM_WARNING,
                        "socket_domain has no effect on a Unix socket");
    }
}

/* Secure, and at first a riddle: everything starts, and nobody gets in. */
static void warn_of_nobody(struct builder *builder)
{
    char name[LOG_QUOTE_MAX];

    for (size_t i = 0; i < builder->listener_count; i++) {
        const struct listener_config *l = &builder->listeners[i].values;

        if (l->allow_anonymous || l->password_file || l->auth_jwt_keyfile ||
            l->use_identity_as_username || l->use_subject_as_username ||
            builder->listeners[i].broken)
            continue;
        complain_at(builder, (struct origin){ l->file, l->line }, PROBLEM_WARNING,
                    "nobody may connect to listener %s: allow_anonymous is not true, and nothing "
                    "else says who may",
                    listener_name(l, name, sizeof name));
    }
}

/* ---- the files that say who may connect ---- */

/* The password file of a listener before this one, if that has the same. */
static struct password_file *read_already(const struct builder *builder, size_t before,
                                          const char *path)
{
    for (size_t i = 0; i < before; i++)
        if (same_text(builder->listeners[i].values.password_file, path))
            return builder->listeners[i].values.passwords;
    return NULL;
}

static bool has_before(const struct builder *builder, size_t before, const char *path)
{
    for (size_t i = 0; i < before; i++)
        if (same_text(builder->listeners[i].values.password_file, path))
            return true;
    return false;
}

static void read_passwords(struct builder *builder)
{
    for (size_t i = 0; i < builder->listener_count && !builder->in_memory; i++) {
        struct listener_config *l = &builder->listeners[i].values;
        if (!l->password_file)
            continue;
        if (access(l->password_file, F_OK) != 0)
            continue; /* its line is in the list already */
        if (!has_before(builder, i, l->password_file)) {
            l->passwords = password_file_load(l->password_file, builder->problems);
            continue;
        }
        struct password_file *same = read_already(builder, i, l->password_file);
        l->passwords = same ? password_file_ref(same) : NULL;
    }
}

static void read_jwt_keys(struct builder *builder)
{
    for (size_t i = 0; i < builder->listener_count && !builder->in_memory; i++) {
        struct listener_config *l = &builder->listeners[i].values;
        const struct jwt_settings settings = {
            .keyfile = l->auth_jwt_keyfile,
            .issuer = l->auth_jwt_issuer,
            .audience = l->auth_jwt_audience,
            .username_claim = l->auth_jwt_username_claim,
            .acl_claim = l->auth_jwt_acl_claim,
            .leeway = l->auth_jwt_leeway,
        };
        if (settings.keyfile)
            l->jwt = jwt_rules_load(&settings, builder->problems);
    }
}

/* ---- what only the layer above knows ---- */

/* Certificates are only read when nothing else is wrong with the listener's files: that is said already. */
static void ask_above(struct builder *builder, const struct config_checks *checks)
{
    struct origin user = builder->set[option_index(option_find("user"))];
    char why[CONFIG_WHY_MAX];

    if (user.file && !checks->user(builder->config->user, why))
        complain_at(builder, user, PROBLEM_ERROR, "%s", why);
    for (size_t i = 0; i < builder->listener_count; i++) {
        const struct draft *listener = &builder->listeners[i];
        if (listener->values.certfile && listener->values.keyfile &&
            !checks->tls(&listener->values, why))
            complain_at(builder, set_at(listener, "certfile"), PROBLEM_ERROR, "%s", why);
    }
}

static void move_listeners(struct builder *builder)
{
    struct config *config = builder->config;

    config->listeners = zeroed(builder->listener_count, sizeof *config->listeners);
    config->listener_count = builder->listener_count;
    for (size_t i = 0; i < builder->listener_count; i++) {
        config->listeners[i] = builder->listeners[i].values;
        config->listeners[i].index = (unsigned)i;
        free(builder->listeners[i].set);
    }
    builder->listener_count = 0;
}

void builder_finish(struct builder *builder, const struct config_overrides *overrides)
{
    add_default_listener(builder);
    if (builder->listener_count && overrides && overrides->port_count)
        complain_at(builder, (struct origin){ 0 }, PROBLEM_WARNING,
                    "-p is ignored, because the configuration file has listeners");
    if (builder->listener_count)
        complete_listeners(builder);
    else
        add_built_in_listeners(builder, overrides);
    read_proxies(builder);
    check_plugins(builder, &builder->shared);
    for (size_t i = 0; i < builder->listener_count; i++) {
        check_tls(builder, &builder->listeners[i]);
        check_identity(builder, &builder->listeners[i]);
        check_proxy(builder, &builder->listeners[i]);
        check_plugins(builder, &builder->listeners[i]);
        load_acl(builder, i);
    }
    check_places(builder);
    warn_of_nobody(builder);
    read_passwords(builder);
    read_jwt_keys(builder);
    if (overrides && overrides->checks)
        ask_above(builder, overrides->checks);
    if (overrides && overrides->verbose)
        builder->config->log_type = LOG_MASK_ALL;
    move_listeners(builder);
}
