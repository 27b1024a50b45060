/* SPDX-License-Identifier: MIT */
/*
 * The list of problems of a configuration: see problems.h. It does not judge; config.c says what is
 * an error.
 */
#include "broker/problems.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "broker/alloc.h"
#include "broker/err.h"
#include "broker/options.h"

static struct problem *next_problem(struct problems *problems)
{
    problems->list = must_have(
        array_grow(problems->list, problems->count, &problems->capacity, sizeof *problems->list));
    return &problems->list[problems->count++];
}

/* That of an earlier one in the same file, or the next. */
static size_t place_of(const struct problems *problems, const char *file)
{
    for (size_t i = 0; i < problems->count; i++) {
        const char *other = problems->list[i].file;
        if (file == other || (file && other && strcmp(file, other) == 0))
            return problems->list[i].place;
    }
    return problems->count;
}

void problems_add(struct problems *problems, enum problem_severity severity, const char *file,
                  unsigned line, const char *format, ...)
{
    char text[PROBLEM_TEXT_MAX];
    va_list args;

    if (severity == PROBLEM_ERROR)
        problems->errors++;
    if (problems->count >= PROBLEMS_MAX) {
        problems->dropped++;
        return;
    }
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t place = place_of(problems, file);
    *next_problem(problems) = (struct problem){
        .place = place,
        .severity = severity,
        .line = line,
        .file = file ? option_keep_text(file, strlen(file)) : NULL,
        .text = option_keep_text(text, strlen(text)),
    };
}

static bool stands_before(const struct problem *a, const struct problem *b)
{
    return a->place < b->place || (a->place == b->place && a->line < b->line);
}

void problems_sort(struct problems *problems)
{
    for (size_t i = 1; i < problems->count; i++) { /* they are nearly sorted */
        struct problem moved = problems->list[i];
        size_t at = i;
        for (; at > 0 && stands_before(&moved, &problems->list[at - 1]); at--)
            problems->list[at] = problems->list[at - 1];
        problems->list[at] = moved;
    }
}

char *problem_line(const struct problem *problem, char *buf, size_t size)
{
    const char *kind = problem->severity == PROBLEM_WARNING ? "warning: " : "";

    if (problem->file && problem->line)
        snprintf(buf, size, "%s:%u: %s%s", problem->file, problem->line, kind, problem->text);
    else if (problem->file)
        snprintf(buf, size, "%s: %s%s", problem->file, kind, problem->text);
    else
        snprintf(buf, size, "%s%s", kind, problem->text);
    return buf;
}

void problems_print(const struct problems *problems, FILE *out)
{
    char line[PROBLEM_TEXT_MAX + 4200];

    for (size_t i = 0; i < problems->count; i++)
        fprintf(out, "%s\n", problem_line(&problems->list[i], line, sizeof line));
    if (problems->dropped)
        fprintf(out, "... and %zu more\n", problems->dropped);
}

void problems_done(struct problems *problems)
{
    for (size_t i = 0; i < problems->count; i++) {
        free(problems->list[i].file);
        free(problems->list[i].text);
    }
    free(problems->list);
    *problems = (struct problems){ 0 };
}
