/* SPDX-License-Identifier: MIT */
/*
 * What becomes of a store that is damaged: see lmdb_salvage.c.
 */
#pragma once

#include "broker/store/lmdb_state.h"

/* Before the environment is opened. 0: it can be; -ENOTSUP: a newer version has written it; another
 * negative errno. The log says what was found and what is lost. */
MUST_USE int salvage_if_damaged(struct lmdb_store *store);
/* The same for one that cannot even be opened. */
MUST_USE int salvage(struct lmdb_store *store);
