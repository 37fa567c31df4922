/* The record of a stream, as other files see it: its fields, how it is made and starts, whether it is over. */

#ifndef GRPC_GUARD_STREAMS_H
#define GRPC_GUARD_STREAMS_H

/* Who starts something, where and when: an Origin that nobody has asked for. See origin_notes.c. */
typedef struct {
    PyObject *code; /* NULL: nothing is noted */
    PyObject *name, *attempt;
    double since;
    int instruction;
    char is_task, on_loop;
} OriginNote;

/* StreamFields */

typedef struct {
    PyObject_HEAD
    PyObject *weakrefs;
    /* What a look compares, side by side. */
    unsigned int copies, copy; /* whose boxes have one for it, of copies.c, and which; 0: nobody's have */
    unsigned int recalls, recall; /* the same of the boxes of inside.c */
    PyObject *reader, *writer; /* directions, where `read` and `write` are True; borrowed: see `generated` */
    PyObject *call, *context, *has_ended, *ended, *read, *write, *channel, *origin;
    PyObject *api, *handler, *in_done_callback, *is_instrumented, *loop, *mode, *rpc, *side;
    PyObject *generated; /* in place of `handler`; borrowed, for it forgets itself before it dies */
    PyObject *followed;  /* of a sync handler: the list of what is called at the end of its RPC, or NULL */
    void *entry;         /* what is in there for it: see following.c */
    void *run;           /* the AioRun of its handler, in flight; borrowed, for it forgets itself before it dies */
    OriginNote noted;         /* in place of `origin`, which is NULL then */
} StreamFields;

/* Its fields that may hold an object lie side by side. */
#define FIRST_OF_STREAM(stream) (&(stream)->call)
#define FIELDS_OF_STREAM \
    ((offsetof(StreamFields, side) - offsetof(StreamFields, call)) / sizeof(PyObject *) + 1)

/* Has nothing called at the end of the RPC, as its handler has ended. */
void grpc_guard_unfollow(StreamFields *stream);

/* Every field that may hold an object, for those who go through them all. */
#define EACH_OF_STREAM(DO) \
    DO(call) DO(context) DO(has_ended) DO(read) DO(write) DO(api) DO(channel) DO(ended) \
    DO(handler) DO(in_done_callback) DO(is_instrumented) DO(loop) DO(mode) DO(origin) DO(rpc) \
    DO(side)

/* Tells whether an object is a stream of ours: mostly of the class that all are of. */
#define IS_STREAM(state, object) \
    ((PyObject *)Py_TYPE(object) == (state)->starts.Stream \
     || PyObject_TypeCheck(object, (state)->stream_fields))

/* The same as next(counter), whose number is not needed; -1 with an exception set. */
int grpc_guard_count(State *state, PyObject *counter);

/* Fills the record of a stream that has nothing, and counts it; -1 with an exception set. And lets go of all that
 * it has. */
int grpc_guard_fill_stream(State *state, StreamFields *self, PyObject *rpc, PyObject *side, PyObject *api,
                           PyObject *mode, PyObject *loop);
void grpc_guard_empty_stream(StreamFields *self);

/* Makes a stream of a class that is or extends StreamFields; a new reference. */
PyObject *grpc_guard_make_stream(State *state, PyTypeObject *type, PyObject *rpc, PyObject *side,
                                 PyObject *api, PyObject *mode, PyObject *loop);
/* Returns a direction of a stream, or None, a new reference; NULL: an error is set. */
PyObject *grpc_guard_reader(StreamFields *stream, void *unused);
PyObject *grpc_guard_writer(StreamFields *stream, void *unused);

/* Has objects of a class in Python die as those of its base in C do, if it adds nothing to that. */
void grpc_guard_die_as(PyTypeObject *type, PyTypeObject *base);

PyObject *grpc_guard_is_over(StreamFields *stream, PyObject *unused);
int grpc_guard_track_call(StreamFields *stream, PyObject *call, PyObject *has_ended);

/* The same as note_origin() and starting() in Python, called by the frame that runs; for `stream` a
 * StreamFields. */
PyObject *grpc_guard_note_origin(State *state, PyObject *operation);
int grpc_guard_note_start(State *state, StreamFields *stream);
int grpc_guard_starting(State *state, PyObject *stream, PyObject *multi_callable);

/* Notes who runs now, and where: 1; 0 where Python has to find it out; -1: an error is set. */
int grpc_guard_note(State *state, OriginNote *noted);
void grpc_guard_forget_note(OriginNote *noted);
/* Returns the origin of a stream, a new reference; NULL: an error is set. */
PyObject *grpc_guard_origin_of(StreamFields *stream, void *unused);
int grpc_guard_set_origin(StreamFields *stream, PyObject *origin, void *unused);
int grpc_guard_has_origin(StreamFields *stream); /* then its field has it, too */

/* Tells whether the loop of an aio multi-callable runs, and gives it, a new reference; 0 as well where
 * that is not known; -1: an error is set. `running_loop` is called for the one that runs, and
 * `known` tells where objects of this class have theirs. */
int grpc_guard_is_on_loop(State *state, PyObject *running_loop, PyObject *multi_callable, Own *known,
                          PyObject **loop);

/* Returns the mode that a proxy of a multi-callable has for its next RPC. */
PyObject *grpc_guard_chosen_mode(State *state, PyObject *proxy);

/* Makes the record of a stream that a client is about to start, and notes its start. */
PyObject *grpc_guard_new_client_stream(State *state, PyObject *rpc, PyObject *api, PyObject *mode,
                                       PyObject *loop, PyObject *multi_callable);

/* Has the error that is set looked at, with which a stream did not start; it stays set. */
void grpc_guard_did_not_start(State *state, PyObject *stream);

/* Tells whether an aio call is of a class of grpcio's that has no interceptors. */
int grpc_guard_is_plain_call(State *state, PyObject *call);
/* Tells whether an aio call has interceptors: if so, it has an attribute of this name; -1: an error is set. */
int grpc_guard_has_interceptors(State *state, PyObject *call, PyObject *name);

#endif
