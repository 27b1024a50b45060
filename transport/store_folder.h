/* SPDX-License-Identifier: MIT */
/*
 * Where the store is: the folder that the configuration names, or the first that fits; made, and
 * given to the user that the broker becomes, while there are still the rights for it. And the store
 * in it. Main thread, at the start.
 */
#pragma once

#include "broker/err.h"

#include <limits.h>

struct config;
struct store;

#define STORE_FOLDER_WHY_MAX (PATH_MAX + 256)

/* Fills in `path` (PATH_MAX bytes) and makes the folder. On failure `why` says which and why. */
MUST_USE enum err store_folder_prepare(const struct config *config, char *path,
                                       char why[STORE_FOLDER_WHY_MAX]);
/* Opens the store in it; the log says how that went. */
MUST_USE enum err store_folder_open(const struct config *config, const char *path, unsigned workers,
                                    struct store **ret_store, char why[STORE_FOLDER_WHY_MAX]);
