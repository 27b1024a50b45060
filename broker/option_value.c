/* SPDX-License-Identifier: MIT */
/*
 * From the text of a value to a field and back, for each type of the option table. It exists so
 * that config.c knows lines and listeners only, and the table in options.c nothing but data. It
 * owns no state; any thread may run it, on a struct that is its own. It must not know any option by
 * its name.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/alloc.h"
#include "broker/config.h"
#include "broker/log.h"
#include "broker/options.h"

struct unit {
    const char *name;
    uint64_t factor;
};

/* clang-format off */
static const struct unit byte_units[] = {
    { "B", 1 }, { "KB", 1000 }, { "MB", 1000000 }, { "GB", 1000000000 },
    { "KiB", UINT64_C(1) << 10 }, { "MiB", UINT64_C(1) << 20 }, { "GiB", UINT64_C(1) << 30 },
    { 0 },
};

static const struct unit second_units[] = {
    { "s", 1 }, { "min", 60 }, { "h", 3600 }, { "d", 86400 },
    { 0 },
};

static const struct unit duration_units[] = {
    { "h", 3600 }, { "d", 86400 }, { "w", 7 * 86400 }, { "m", 30 * 86400 }, { "y", 365 * 86400 },
    { "min", 60 }, { "s", 1 },
    { 0 },
};

/* What a type of number takes behind its digits, and how a message calls that. */
static const struct {
    const struct unit *units;
    bool bare; /* digits alone will do */
    const char *kind;
    const char *hint;
} numbers[] = {
    [OPT_COUNT]    = { NULL,           true,  "number", "" },
    [OPT_BYTES]    = { byte_units,     true,  "number of bytes",
                       " (KB, MB, GB, KiB, MiB or GiB may follow it)" },
    [OPT_SECONDS]  = { second_units,   true,  "number of seconds",
                       " (s, min, h or d may follow it)" },
    [OPT_DURATION] = { duration_units, false, "time",
                       "0, or a number with h, d, w, m (30 days) or y" },
};
/* clang-format on */

char *option_keep_text(const char *text, size_t len)
{
    char *copy = must_have(malloc(len + 1));
    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

static void *field_of(const struct option *option, void *base)
{
    return (char *)base + option->offset;
}

static bool is_text(const struct option *option)
{
    return option->type == OPT_TEXT || option->type == OPT_PATH || option->type == OPT_FILE ||
           option->type == OPT_DIRECTORY;
}

/* The fields are as wide as their range needs; the row says how wide. */
static void store_number(const struct option *option, void *base, uint64_t value)
{
    void *field = field_of(option, base);

    if (option->type == OPT_BOOL)
        memcpy(field, &(bool){ value != 0 }, sizeof(bool));
    else if (option->size == sizeof(uint8_t))
        memcpy(field, &(uint8_t){ (uint8_t)value }, sizeof(uint8_t));
    else if (option->size == sizeof(uint16_t))
        memcpy(field, &(uint16_t){ (uint16_t)value }, sizeof(uint16_t));
    else if (option->size == sizeof(uint32_t))
        memcpy(field, &(uint32_t){ (uint32_t)value }, sizeof(uint32_t));
    else
        memcpy(field, &value, sizeof value);
}

static uint64_t load_number(const struct option *option, const void *base)
{
    const char *field = (const char *)base + option->offset;
    uint64_t wide = 0;
    uint32_t word = 0;
    uint16_t half = 0;
    uint8_t byte = 0;

    switch (option->size) {
    case sizeof byte: return memcpy(&byte, field, sizeof byte), byte;
    case sizeof half: return memcpy(&half, field, sizeof half), half;
    case sizeof word: return memcpy(&word, field, sizeof word), word;
    default: return memcpy(&wide, field, sizeof wide), wide;
    }
}

static char *load_text(const struct option *option, const void *base)
{
    char *text;

    memcpy(&text, (const char *)base + option->offset, sizeof text);
    return text;
}

static const struct option_word *find_word(const struct option *option, const char *word,
                                           size_t len)
{
    for (const struct option_word *w = option->words; w && w->word; w++)
        if (strlen(w->word) == len && memcmp(w->word, word, len) == 0)
            return w;
    return NULL;
}

/* "mqtt or websockets" */
static void list_words(const struct option *option, char *buf, size_t size)
{
    size_t at = 0;

    buf[0] = '\0';
    for (const struct option_word *w = option->words; w->word && at < size; w++)
        at += (size_t)snprintf(buf + at, size - at, "%s%s",
                               w == option->words ? ""
                               : w[1].word        ? ", "
                                                  : " or ",
                               w->word);
}

static enum option_result no_such_word(const struct option *option, const char *word, char *why)
{
    char quoted[LOG_QUOTE_MAX];
    char words[LOG_QUOTE_MAX];
    const char *meant = option_suggest_word(option, word);

    list_words(option, words, sizeof words);
    snprintf(why, OPTION_WHY_MAX, "\"%s\" is not one of %s%s%s%s",
             log_quote(quoted, sizeof quoted, word, strlen(word)), words,
             meant ? "; did you mean \"" : "", meant ? meant : "", meant ? "\"?" : "");
    return OPTION_ERROR;
}

static enum option_result word_note(const struct option_word *word, char *why)
{
    if (!word->note)
        return OPTION_OK;
    snprintf(why, OPTION_WHY_MAX, "%s", word->note);
    return OPTION_WARNING;
}

static enum option_result set_bool(const struct option *option, void *base, const char *value,
                                   bool again, char *why)
{
    char quoted[LOG_QUOTE_MAX];
    bool yes = strcmp(value, "true") == 0 || strcmp(value, "1") == 0;

    (void)again;
    if (!yes && strcmp(value, "false") != 0 && strcmp(value, "0") != 0) {
        snprintf(why, OPTION_WHY_MAX, "\"%s\" is neither true nor false",
                 log_quote(quoted, sizeof quoted, value, strlen(value)));
        return OPTION_ERROR;
    }
    store_number(option, base, yes);
    return OPTION_OK;
}

static bool same_letters(const char *a, const char *b)
{
    for (; *a && *b; a++, b++)
        if ((*a | 0x20) != (*b | 0x20))
            return false;
    return *a == *b;
}

/* Digits and a unit; false when it is something else or too large for any option. */
static bool read_number(const struct option *option, const char *value, uint64_t *ret_number)
{
    const struct unit *unit = numbers[option->type].units;
    uint64_t number = 0;
    const char *p = value;

    for (; *p >= '0' && *p <= '9'; p++) {
        if (number > (UINT64_MAX - 9) / 10)
            return false;
        number = number * 10 + (uint64_t)(*p - '0');
    }
    if (p == value)
        return false;
    *ret_number = number;
    if (*p == '\0')
        return numbers[option->type].bare || number == 0;
    while (*p == ' ')
        p++;
    while (unit && unit->name && !same_letters(unit->name, p))
        unit++;
    if (!unit || !unit->name || number > UINT64_MAX / unit->factor)
        return false;
    *ret_number = number * unit->factor;
    return true;
}

static enum option_result set_number(const struct option *option, void *base, const char *value,
                                     bool again, char *why)
{
    const struct option_word *word = find_word(option, value, strlen(value));
    char quoted[LOG_QUOTE_MAX];
    uint64_t number = 0;
    bool good;

    (void)again;
    if (word)
        good = true, number = word->value;
    else if (option->no_limit && strcmp(value, "-1") == 0)
        good = true;
    else
        good = read_number(option, value, &number) && number >= option->min &&
               number <= option->max;
    if (!good && option->type == OPT_DURATION)
        snprintf(why, OPTION_WHY_MAX, "\"%s\" is not a time: %s",
                 log_quote(quoted, sizeof quoted, value, strlen(value)),
                 numbers[option->type].hint);
    else if (!good)
        snprintf(why, OPTION_WHY_MAX, "\"%s\" is not a %s from %" PRIu64 " to %" PRIu64 "%s",
                 log_quote(quoted, sizeof quoted, value, strlen(value)), numbers[option->type].kind,
                 option->min, option->max, numbers[option->type].hint);
    if (!good)
        return OPTION_ERROR;
    store_number(option, base, number);
    return OPTION_OK;
}

static enum option_result set_choice(const struct option *option, void *base, const char *value,
                                     bool again, char *why)
{
    const struct option_word *word = find_word(option, value, strlen(value));

    (void)again;
    if (!word)
        return no_such_word(option, value, why);
    store_number(option, base, word->value);
    return word_note(word, why);
}

static const char interval_word[] = "interval ";

/* The field holds the milliseconds, 0 is sync. */
static enum option_result set_durability(const struct option *option, void *base, const char *value,
                                         bool again, char *why)
{
    const struct option number = { .type = OPT_COUNT, .min = option->min, .max = option->max };
    size_t len = strlen(interval_word);
    uint64_t milliseconds = 0;
    char quoted[LOG_QUOTE_MAX];
    bool good = strcmp(value, "sync") == 0;

    (void)again;
    if (!good && strncmp(value, interval_word, len) == 0)
        good = read_number(&number, value + len + strspn(value + len, " "), &milliseconds) &&
               milliseconds >= option->min && milliseconds <= option->max;
    if (!good) {
        snprintf(why, OPTION_WHY_MAX,
                 "\"%s\" is neither \"sync\" nor \"interval\" with milliseconds from %" PRIu64
                 " to %" PRIu64,
                 log_quote(quoted, sizeof quoted, value, strlen(value)), option->min, option->max);
        return OPTION_ERROR;
    }
    store_number(option, base, milliseconds);
    return OPTION_OK;
}

/* Calls for each word of the list; commas and blanks separate. */
static enum option_result set_words(const struct option *option, void *base, const char *value,
                                    uint64_t bits, char *why)
{
    for (const char *p = value + strspn(value, ", "); *p; p += strspn(p, ", ")) {
        size_t len = strcspn(p, ", ");
        const struct option_word *word = find_word(option, p, len);

        if (!word) {
            char *copy = option_keep_text(p, len);

            no_such_word(option, copy, why);
            free(copy);
            return OPTION_ERROR;
        }
        bits = word->value ? bits | word->value : 0;
        p += len;
    }
    store_number(option, base, bits);
    return OPTION_OK;
}

static enum option_result set_set(const struct option *option, void *base, const char *value,
                                  bool again, char *why)
{
    return set_words(option, base, value, again ? load_number(option, base) : 0, why);
}

static enum option_result set_list(const struct option *option, void *base, const char *value,
                                   bool again, char *why)
{
    (void)again;
    return set_words(option, base, value, 0, why);
}

static enum option_result set_text(const struct option *option, void *base, const char *value,
                                   bool again, char *why)
{
    const char *before = again && option->lines ? load_text(option, base) : "";
    size_t len = strlen(before) + (*before != '\0') + strlen(value);
    size_t most = option->max ? (size_t)option->max : OPTION_VALUE_MAX;
    char *copy;

    if (len > most) {
        snprintf(why, OPTION_WHY_MAX, "the text has %zu bytes; at most %zu are allowed", len, most);
        return OPTION_ERROR;
    }
    copy = must_have(malloc(len + 1));
    snprintf(copy, len + 1, "%s%s%s", before, *before ? " " : "", value);
    option_clear(option, base);
    memcpy(field_of(option, base), &copy, sizeof copy);
    return OPTION_OK;
}

/* Two fields: the destinations, and the file among them. */
static enum option_result set_log_dest(const struct option *option, void *base, const char *value,
                                       bool again, char *why)
{
    struct config *config = base;
    size_t len = strcspn(value, " ");
    const char *path = value + len + strspn(value + len, " ");
    bool file = len == 4 && memcmp(value, "file", 4) == 0;

    if (!file && *path) {
        snprintf(why, OPTION_WHY_MAX, "only \"file\" takes a path; one destination per line");
        return OPTION_ERROR;
    }
    if (file && !*path) {
        snprintf(why, OPTION_WHY_MAX, "\"file\" needs the path of the file behind it");
        return OPTION_ERROR;
    }
    if (file && again && config->log_file && strcmp(config->log_file, path) != 0) {
        snprintf(why, OPTION_WHY_MAX,
                 "there is a log file already; one is all that can be written");
        return OPTION_ERROR;
    }
    if (file || strcmp(value, "none") == 0) {
        free(config->log_file);
        config->log_file = file ? option_keep_text(path, strlen(path)) : NULL;
    }
    return set_set(option, base, file ? "file" : value, again, why);
}

typedef enum option_result value_setter(const struct option *option, void *base, const char *value,
                                        bool again, char *why);

/* The types that are not here make or place things rather than hold a value: config.c has them. */
static value_setter *const setters[] = {
    [OPT_BOOL] = set_bool,         [OPT_COUNT] = set_number,
    [OPT_BYTES] = set_number,      [OPT_SECONDS] = set_number,
    [OPT_DURATION] = set_number,   [OPT_CHOICE] = set_choice,
    [OPT_SET] = set_set,           [OPT_LIST] = set_list,
    [OPT_TEXT] = set_text,         [OPT_PATH] = set_text,
    [OPT_FILE] = set_text,         [OPT_DIRECTORY] = set_text,
    [OPT_LOG_DEST] = set_log_dest, [OPT_DURABILITY] = set_durability,
};

enum option_result option_set(const struct option *option, void *base, const char *value,
                              bool again, char *why)
{
    return setters[option->type](option, base, value, again, why);
}

static char *format_words(const struct option *option, uint64_t bits, char *buf, size_t size)
{
    const char *separator = option->type == OPT_LIST ? "," : " ";
    size_t at = 0;

    for (const struct option_word *w = option->words; w->word; w++)
        if (w->value == bits)
            return snprintf(buf, size, "%s", w->word), buf;
    buf[0] = '\0';
    for (const struct option_word *w = option->words; w->word && at < size; w++)
        if (w->value && (w->value & bits) == w->value)
            at += (size_t)snprintf(buf + at, size - at, "%s%s", at ? separator : "", w->word);
    return buf;
}

char *option_format(const struct option *option, const void *base, char *buf, size_t size)
{
    const char *text;

    if (is_text(option)) {
        text = load_text(option, base);
        snprintf(buf, size, "%s", text ? text : "");
    } else if (option->type == OPT_BOOL) {
        snprintf(buf, size, "%s", load_number(option, base) ? "true" : "false");
    } else if (option->type == OPT_SET || option->type == OPT_LIST ||
               option->type == OPT_LOG_DEST) {
        format_words(option, load_number(option, base), buf, size);
        if (option->type == OPT_LOG_DEST && ((const struct config *)base)->log_file)
            snprintf(buf + strlen(buf), size - strlen(buf), " %s",
                     ((const struct config *)base)->log_file);
    } else if (option->type == OPT_DURABILITY) {
        uint64_t value = load_number(option, base);

        if (value)
            snprintf(buf, size, "%s%" PRIu64, interval_word, value);
        else
            snprintf(buf, size, "sync");
    } else {
        uint64_t value = load_number(option, base);

        snprintf(buf, size, "%" PRIu64, value);
        for (const struct option_word *w = option->words; w && w->word; w++)
            if (w->value == value)
                return snprintf(buf, size, "%s", w->word), buf;
        if (option->type == OPT_CHOICE) /* none of the words: nothing was chosen */
            buf[0] = '\0';
    }
    return buf;
}

void option_clear(const struct option *option, void *base)
{
    if (is_text(option))
        free(load_text(option, base));
    memset(field_of(option, base), 0, option->size);
}

void option_copy(const struct option *option, void *to, const void *from)
{
    char *text = is_text(option) ? load_text(option, from) : NULL;

    option_clear(option, to);
    if (text) {
        text = option_keep_text(text, strlen(text));
        memcpy(field_of(option, to), &text, sizeof text);
    } else {
        memcpy(field_of(option, to), (const char *)from + option->offset, option->size);
    }
}
