/* SPDX-License-Identifier: MIT */
/*
 * What a disk would hold: operations of the store go in, one by one in the order of their commits,
 * and a broker can be loaded from it. As plain as can be, with linear searches; a test that breaks
 * a rule of store/store.h is ended here.
 */
#pragma once

#include "broker/store/store.h"

struct model;

struct model *model_new(void);
void model_free(struct model *model);
/* The operation is only read. */
void model_apply(struct model *model, const struct store_op *op);
int model_load(struct model *model, struct store *store, const struct store_loader *loader,
               void *ctx);

/* It is there, and who receives it is still to come. */
bool model_is_unrouted(struct model *model, uint64_t sequence);
/* The message as store_fetch wants it: with this receiver alone. NULL: it is not there for it. */
struct message *model_fetch(struct model *model, uint32_t slot, uint64_t sequence);

/* Something is missing, as a batch has failed: the rules do not hold any more. */
void model_tear(struct model *model);

/* What is in it. */
size_t model_messages(const struct model *model);
size_t model_sessions(const struct model *model);
size_t model_exchanges(const struct model *model); /* outbound */
/* Tells on stderr which messages are there, and for whom. */
void model_print(const struct model *model);
size_t model_retained(const struct model *model);
