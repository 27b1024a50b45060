/* SPDX-License-Identifier: MIT */
/*
 * Reads a configuration in mosquitto.conf syntax: files into lines, lines into options, options
 * into the fields that their row in the table names. It exists to turn text that people wrote into
 * a struct config that is right, or into a list of all that is wrong with it. It owns the life of a
 * struct config. One thread runs it, at start or on a reload. It must not know what an option means
 * (except the few that place others), nor trust a byte of the text.
 */
#include "broker/config.h"

#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "broker/alloc.h"
#include "broker/config_builder.h"
#include "broker/log.h"
#include "broker/whole_file.h"

/* ---- the life of a configuration ---- */

struct counted_config {
    struct config config; /* first, so that one pointer serves for both */
    atomic_uint references;
};

struct config *config_new(void)
{
    struct counted_config *counted = must_have(calloc(1, sizeof *counted));
    char why[OPTION_WHY_MAX];

    atomic_init(&counted->references, 1);
    for (size_t i = 0; i < option_count; i++) {
        const struct option *option = &option_table[i];

        if (option->status == OPTION_SUPPORTED && option->scope == SCOPE_GLOBAL && option->preset)
            option_set(option, &counted->config, option->preset, false, why);
    }
    return &counted->config;
}

struct config *config_ref(struct config *config)
{
    atomic_fetch_add_explicit(&((struct counted_config *)config)->references, 1,
                              memory_order_relaxed);
    return config;
}

void config_unref(struct config *config)
{
    if (!config || atomic_fetch_sub_explicit(&((struct counted_config *)config)->references, 1,
                                             memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < option_count; i++)
        if (option_table[i].status == OPTION_SUPPORTED && option_table[i].scope == SCOPE_GLOBAL)
            option_clear(&option_table[i], config);
    for (size_t i = 0; i < config->listener_count; i++)
        listener_clear(&config->listeners[i]);
    free(config->listeners);
    free(config->log_file);
    free(config->path);
    free(config);
}

char *listener_name(const struct listener_config *listener, char *buf, size_t size)
{
    char quoted[LOG_QUOTE_MAX];
    const char *place = listener->unix_path ? listener->unix_path
                        : listener->address ? listener->address
                                            : "*";

    log_quote(quoted, sizeof quoted, place, strlen(place));
    if (listener->unix_path)
        snprintf(buf, size, "%s", quoted);
    else
        snprintf(buf, size, strchr(quoted, ':') ? "[%s]:%u" : "%s:%u", quoted, listener->port);
    return buf;
}

/* ---- one option ---- */

/* The struct that the field of an option is in, and where it is remembered who set it. */
struct target {
    void *base;
    struct origin *set;
};

static struct draft *draft_of(struct builder *b, const struct option *option)
{
    if (option->scope == SCOPE_SECURITY && !b->config->per_listener_settings)
        return &b->shared;
    return b->current == NO_LISTENER ? &b->before : &b->listeners[b->current];
}

static struct target target_of(struct builder *b, const struct option *option)
{
    struct draft *draft = draft_of(b, option);

    if (option->scope == SCOPE_GLOBAL)
        return (struct target){ b->config, b->set };
    return (struct target){ &draft->values, draft->set };
}

/* A file that is not there is found out now, with its line, and not when the listener starts. That
 * it cannot be read may be because somebody else starts the broker. */
static void check_file(struct builder *b, const struct option *option, const char *path)
{
    char quoted[LOG_QUOTE_MAX];
    DIR *directory = opendir(path);
    FILE *file = directory || option->type == OPT_DIRECTORY ? NULL : fopen(path, "rb");
    int error = errno;

    log_quote(quoted, sizeof quoted, path, strlen(path));
    if (directory && option->type == OPT_FILE)
        complain(b, PROBLEM_ERROR, "%s: %s is a directory; a file was expected", option->key,
                 quoted);
    else if (!directory && !file)
        complain(b, error == ENOENT || error == ENOTDIR ? PROBLEM_ERROR : PROBLEM_WARNING,
                 "%s: %s cannot be read: %s", option->key, quoted, strerror(error));
    if (directory)
        closedir(directory);
    if (file)
        fclose(file);
}

static bool adds_up(const struct option *option)
{
    return option->type == OPT_SET || option->type == OPT_LOG_DEST || option->lines;
}

static void store_value(struct builder *b, const struct option *option, const char *value)
{
    const struct option *row = option->same_as ? option_find(option->same_as) : option;
    struct target target = target_of(b, option);
    struct origin *set = &target.set[option_index(row)];
    char why[OPTION_WHY_MAX];
    enum option_result result;

    if (row->scope == SCOPE_SECURITY && option->scope == SCOPE_LISTENER &&
        b->current == NO_LISTENER) {
        complain(b, PROBLEM_ERROR, "%s must stand behind the listener that it is meant for",
                 option->key);
        return;
    }
    if (set->file && !adds_up(option))
        complain(b, PROBLEM_WARNING, "%s is given again; this replaces line %u of %s", option->key,
                 set->line, set->file);
    result = option_set(option, target.base, value, set->file != NULL, why);
    if (result != OPTION_OK)
        complain(b, result == OPTION_ERROR ? PROBLEM_ERROR : PROBLEM_WARNING, "%s: %s", option->key,
                 why);
    if (result == OPTION_ERROR)
        return;
    *set = b->here;
    if (row->scope == SCOPE_SECURITY && option->scope == SCOPE_SECURITY && !b->security.file)
        b->security = b->here;
    if (strcmp(option->key, "per_listener_settings") == 0 && b->security.file &&
        b->config->per_listener_settings)
        complain(b, PROBLEM_ERROR,
                 "%s must stand before the options that it is about (line %u of %s)", option->key,
                 b->security.line, b->security.file);
    if ((option->type == OPT_FILE || option->type == OPT_DIRECTORY) && !option->loaded &&
        !b->in_memory)
        check_file(b, option, value);
}

/* Cuts the first word off: returns it, and moves on to the rest, without the blanks between. */
static char *next_word(char **rest)
{
    char *word = *rest;
    size_t len = strcspn(word, " ");

    *rest = word + len + strspn(word + len, " ");
    word[len] = '\0';
    return word;
}

/* A value that is one word ends there. A comment may follow; mosquitto ignores whatever else does.
 */
static void ignore_rest(struct builder *b, const struct option *option, const char *rest)
{
    char quoted[LOG_QUOTE_MAX];

    if (*rest && *rest != '#')
        complain(b, PROBLEM_WARNING, "%s takes one value; \"%s\" behind it is ignored", option->key,
                 log_quote(quoted, sizeof quoted, rest, strlen(rest)));
}

static bool read_port(struct builder *b, const struct option *option, const char *word,
                      uint16_t *ret_port)
{
    char quoted[LOG_QUOTE_MAX];
    char *end = NULL;
    unsigned long port = *word >= '0' && *word <= '9' ? strtoul(word, &end, 10) : 0;

    if (!end || *end || strlen(word) > 5 || port < option->min || port > option->max) {
        complain(b, PROBLEM_ERROR, "%s: \"%s\" is not a port from %u to %u", option->key,
                 log_quote(quoted, sizeof quoted, word, strlen(word)), (unsigned)option->min,
                 (unsigned)option->max);
        return false;
    }
    *ret_port = (uint16_t)port;
    return true;
}

static void begin_listener(struct builder *b, const struct option *option, char *value)
{
    char *rest = value;
    const char *word = next_word(&rest);
    const char *place = *rest && *rest != '#' ? next_word(&rest) : NULL;
    uint16_t port = 1;
    bool good;

    ignore_rest(b, option, rest);
    if (b->listener_count >= LISTENERS_MAX) {
        complain(b, PROBLEM_ERROR, "there are too many listeners; at most %d are possible",
                 LISTENERS_MAX);
        return;
    }
    good = read_port(b, option, word, &port);
    if (port == 0 && (!place || strlen(place) > UNIX_PATH_MAX)) {
        complain(b, PROBLEM_ERROR,
                 "%s: port 0 needs the path of a Unix socket behind it, of at most %d bytes",
                 option->key, UNIX_PATH_MAX);
        good = false;
    } else if (port != 0 && place && strlen(place) > ADDRESS_MAX) {
        complain(b, PROBLEM_ERROR, "%s: the address is too long", option->key);
        good = false;
    }
    /* The lines of a listener that is wrong still belong to it. */
    builder_add_listener(b, port, port ? place : NULL, port ? NULL : place)->broken = !good;
}

static void set_default_port(struct builder *b, const struct option *option, char *value)
{
    char *rest = value;
    const char *word = next_word(&rest);

    ignore_rest(b, option, rest);
    if (b->before.values.port)
        complain(b, PROBLEM_WARNING, "%s is given again; the last one holds", option->key);
    if (read_port(b, option, word, &b->before.values.port) && !b->default_listener.file)
        b->default_listener = b->here;
}

static void set_default_address(struct builder *b, const struct option *option, char *value)
{
    char *rest = value;
    const char *word = next_word(&rest);

    ignore_rest(b, option, rest);
    if (strlen(word) > option->max) {
        complain(b, PROBLEM_ERROR, "%s: the address is too long", option->key);
        return;
    }
    free(b->before.values.address);
    b->before.values.address = option_keep_text(word, strlen(word));
    if (!b->default_listener.file)
        b->default_listener = b->here;
}

/* The one of mosquitto's own plugins that a path names; KNOWN_PLUGINS: none of them. */
static size_t find_plugin(const char *path)
{
    const char *file = path + strlen(path);
    size_t i = 0;

    while (file > path && file[-1] != '/' && file[-1] != '\\')
        file--;
    while (i < KNOWN_PLUGINS && (strncmp(file, known_plugins[i].name, strcspn(file, ".")) != 0 ||
                                 known_plugins[i].name[strcspn(file, ".")] != '\0'))
        i++;
    return i;
}

/* What they do, options of ours do; another plugin would say who may do what, and nobody would ask
 * it. */
static void name_plugin(struct builder *b, const struct option *option, char *value)
{
    size_t plugin = find_plugin(value);
    char quoted[LOG_QUOTE_MAX];

    if (plugin == KNOWN_PLUGINS)
        complain(b, PROBLEM_ERROR,
                 "%s: %s cannot be used: plugins are not supported, but for mosquitto_acl_file and "
                 "mosquitto_password_file, which are built in",
                 option->key, log_quote(quoted, sizeof quoted, value, strlen(value)));
    else if (strcmp(option->key, "global_plugin") == 0 && b->config->per_listener_settings)
        complain(b, PROBLEM_ERROR, "%s: with per_listener_settings, write %s behind each listener",
                 option->key, known_plugins[plugin].key);
    else
        draft_of(b, option)->plugins[plugin] = b->here;
}

static void include_directory(struct builder *b, const struct option *option, char *value);

typedef void option_placer(struct builder *b, const struct option *option, char *value);

/* The types that are no value of a field. */
static option_placer *const placers[] = {
    [OPT_LISTENER] = begin_listener,
    [OPT_PORT] = set_default_port,
    [OPT_BIND_ADDRESS] = set_default_address,
    [OPT_INCLUDE_DIR] = include_directory,
    [OPT_PLUGIN] = name_plugin,
};

static bool takes_rest_of_line(const struct option *option)
{
    return (option->type >= OPT_TEXT && option->type <= OPT_LOG_DEST) ||
           option->type >= OPT_LISTENER;
}

/* "3, 4", "interval 500" and "2 MB" */
static bool may_have_blanks(const struct option *option)
{
    return option->type == OPT_LIST || option->type == OPT_DURABILITY ||
           (option->type >= OPT_COUNT && option->type <= OPT_DURATION);
}

static void cut_comment(char *value)
{
    size_t len = strcspn(value, "#");

    while (len > 0 && value[len - 1] == ' ')
        len--;
    value[len] = '\0';
}

static void apply_supported(struct builder *b, const struct option *option, char *value)
{
    if (may_have_blanks(option)) {
        cut_comment(value);
    } else if (!takes_rest_of_line(option)) {
        char *rest = value;

        next_word(&rest);
        ignore_rest(b, option, rest);
    }
    if (*value == '\0')
        complain(b, PROBLEM_ERROR, "%s needs a value", option->key);
    else if (option->type >= OPT_LISTENER)
        placers[option->type](b, option, value);
    else
        store_value(b, option, value);
}

/* ---- one line ---- */

static void apply_unknown(struct builder *b, const char *key)
{
    const char *meant = option_suggest(key);
    char quoted[LOG_QUOTE_MAX];

    log_quote(quoted, sizeof quoted, key, strlen(key));
    if (meant)
        complain(b, PROBLEM_ERROR, "there is no option \"%s\"; did you mean \"%s\"?", quoted,
                 meant);
    else
        complain(b, PROBLEM_ERROR, "there is no option \"%s\"", quoted);
}

static void apply_refused(struct builder *b, const struct option *option, const char *key,
                          char *value)
{
    char quoted[LOG_QUOTE_MAX];
    char *rest = value;

    if (option->neutral && strcmp(next_word(&rest), option->neutral) == 0)
        return;
    complain(b, PROBLEM_ERROR, "%s is not supported yet, and leaving it out would not be safe: %s",
             log_quote(quoted, sizeof quoted, key, strlen(key)), option->help);
    if (strcmp(option->key, "connection") == 0)
        b->bridge = true;
}

static void apply_ignored(struct builder *b, const struct option *option, char *value)
{
    char *rest = value;

    if (option->neutral && strcmp(next_word(&rest), option->neutral) == 0)
        return;
    complain(b, PROBLEM_WARNING, "%s is ignored: %s", option->key, option->help);
}

static void apply_line(struct builder *b, char *line)
{
    char *value = line;
    const char *key = next_word(&value);
    const struct option *option = option_find(key);

    if (!option) {
        apply_unknown(b, key);
        return;
    }
    switch (option->status) {
    case OPTION_SUPPORTED: apply_supported(b, option, value); break;
    case OPTION_IGNORED: apply_ignored(b, option, value); break;
    case OPTION_REFUSED: apply_refused(b, option, key, value); break;
    case OPTION_BRIDGE:
        if (!b->bridge) /* else the connection was refused already, with all that belongs to it */
            complain(b, PROBLEM_ERROR,
                     "%s belongs to a bridge (connection), which is not supported yet", key);
        break;
    case OPTION_TITLE: break;
    }
}

/* One line as it stands in the file, without its end. */
static void read_line(struct builder *b, const char *text, size_t len)
{
    char line[OPTION_VALUE_MAX + 1];
    size_t start = 0;

    while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t' || text[len - 1] == '\r'))
        len--;
    while (start < len && (text[start] == ' ' || text[start] == '\t'))
        start++;
    text += start;
    len -= start;
    if (len == 0 || text[0] == '#')
        return;
    if (len > OPTION_VALUE_MAX) {
        complain(b, PROBLEM_ERROR, "the line is too long: %zu bytes, at most %d are allowed", len,
                 OPTION_VALUE_MAX);
        return;
    }
    for (size_t i = 0; i < len; i++)
        line[i] = text[i] == '\t' ? ' ' : text[i];
    line[len] = '\0';
    if (!log_is_printable(line, len)) {
        complain(b, PROBLEM_ERROR, "the line holds characters that are not printable UTF-8");
        return;
    }
    apply_line(b, line);
}

static void read_text(struct builder *b, const char *text, size_t len)
{
    static const char mark[3] = { '\xef', '\xbb', '\xbf' }; /* some editors begin a file with it */
    size_t at = len >= sizeof mark && memcmp(text, mark, sizeof mark) == 0 ? sizeof mark : 0;

    while (at < len) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t line_len = end ? (size_t)(end - text) - at : len - at;

        b->here.line++;
        read_line(b, text + at, line_len);
        at += line_len + 1;
    }
}

/* ---- files ---- */

/* Reads a file as if it stood at the line that is being read. */
static void read_file(struct builder *b, const char *path)
{
    struct origin here = b->here;
    size_t current = b->current;
    size_t len;
    char *text = whole_file_read(path, CONFIG_BYTES_MAX, &len);

    b->here = (struct origin){ builder_keep_name(b, path), 0 };
    b->current = NO_LISTENER;
    if (text)
        read_text(b, text, len);
    else
        complain(b, PROBLEM_ERROR, "the file cannot be read: %s", strerror(errno));
    free(text);
    b->here = here;
    b->current = current;
}

/* A.conf before a.conf before B.conf, as mosquitto. */
static int compare_names(const void *a, const void *b)
{
    const char *left = *(const char *const *)a;
    const char *right = *(const char *const *)b;
    int order = strcasecmp(left, right);

    return order ? order : strcmp(left, right);
}

static bool ends_in_conf(const char *name)
{
    size_t len = strlen(name);

    return len > 5 && strcmp(name + len - 5, ".conf") == 0;
}

/* The names in the directory that end in .conf, sorted; the caller frees them and the list. */
static char **list_directory(struct builder *b, DIR *directory, size_t *ret_count)
{
    char **names = must_have(calloc(MAX_INCLUDED, sizeof *names));
    size_t count = 0;
    struct dirent *entry;

    while ((entry = readdir(directory))) {
        if (!ends_in_conf(entry->d_name))
            continue;
        if (count + b->included >= MAX_INCLUDED) {
            complain(b, PROBLEM_ERROR, "more than %d files are included", MAX_INCLUDED);
            break;
        }
        names[count++] = option_keep_text(entry->d_name, strlen(entry->d_name));
    }
    qsort(names, count, sizeof *names, compare_names);
    *ret_count = count;
    return names;
}

static void include_directory(struct builder *b, const struct option *option, char *value)
{
    char path[OPTION_VALUE_MAX + sizeof((struct dirent){ 0 }.d_name) + 2];
    char **names;
    size_t count;
    DIR *directory;

    if (b->depth >= MAX_DEPTH || b->in_memory) {
        complain(b, b->in_memory ? PROBLEM_ERROR : PROBLEM_WARNING,
                 "%s is ignored here: only the main file includes", option->key);
        return;
    }
    directory = opendir(value);
    if (!directory) {
        complain(b, PROBLEM_ERROR, "%s: the directory cannot be read: %s", option->key,
                 strerror(errno));
        return;
    }
    names = list_directory(b, directory, &count);
    closedir(directory);
    b->depth++;
    for (size_t i = 0; i < count; i++) {
        b->included++;
        snprintf(path, sizeof path, "%s%s%s", value, value[strlen(value) - 1] == '/' ? "" : "/",
                 names[i]);
        read_file(b, path);
        free(names[i]);
    }
    b->depth--;
    free(names);
}

/* ---- all of it ---- */

/* The finished configuration, or NULL when the problems since `errors_before` forbid it. */
static struct config *finish(struct builder *b, const struct config_overrides *overrides,
                             size_t errors_before)
{
    struct config *config = NULL;

    builder_finish(b, overrides);
    problems_sort(b->problems);
    if (b->problems->errors == errors_before)
        config = config_ref(b->config);
    builder_done(b);
    return config;
}

struct config *config_load_with(const char *path, const struct config_overrides *overrides,
                                struct problems *problems)
{
    size_t errors_before = problems->errors;
    struct builder builder;

    builder_init(&builder, problems);
    if (path) {
        builder.config->path = option_keep_text(path, strlen(path));
        read_file(&builder, path);
    }
    return finish(&builder, overrides, errors_before);
}

struct config *config_load(const char *path, struct problems *problems)
{
    return config_load_with(path, NULL, problems);
}

struct config *config_parse(const char *text, size_t len, const char *name,
                            struct problems *problems)
{
    size_t errors_before = problems->errors;
    struct builder builder;

    builder_init(&builder, problems);
    builder.in_memory = true;
    builder.here.file = builder_keep_name(&builder, name);
    read_text(&builder, text, len);
    return finish(&builder, NULL, errors_before);
}
