/* Sync operations: what of them the other files need. See steps.c. */

#ifndef GRPC_GUARD_STEPS_H
#define GRPC_GUARD_STEPS_H

#include <Python.h>

#include "usual.h"

/* A list of the directions that live, borrowed: each leaves it before it dies. */
typedef struct Links {
    struct Links *next, *previous;
} Links;

enum { READING, METADATA, REQUESTS, TAKING_REQUESTS, TAKING_RESPONSES, SENDING, KINDS };

typedef struct {
    PyTypeObject *type;
    PyObject *namespace; /* of advances.py: the clock, and what is done where a claim fails */
    PyObject *operations[KINDS]; /* their names, interned */
    PyObject *str_monotonic, *str_get_ident, *str_contended, *str_used_after_end, *str_next;
    PyObject *str_initial_metadata, *str_response, *str_ended, *str_signature_of;
    int has_native_ident; /* get_ident of the namespace tells what C knows */
    int has_native_clock; /* and so does its monotonic */
    Links live;
} Steps;

/* What an operation is called, and what made it in advances.py. */
typedef struct {
    const char *operation, *maker;
} SyncKind;

extern const SyncKind grpc_guard_kinds[KINDS];
extern PyType_Spec grpc_guard_sync_operation;

int grpc_guard_steps_traverse(Steps *steps, visitproc visit, void *arg);
void grpc_guard_steps_clear(Steps *steps);

/* Finds which thread runs, a greenlet with gevent: 1, 0 if its ident is no number; -1: an error is set. */
int grpc_guard_this_ident(Steps *steps, unsigned long long *ident);

/* Ends a list: those who are still in it live on in none. */
void grpc_guard_leave_list(Links *head);

#endif
