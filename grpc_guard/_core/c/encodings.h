/* How records become bytes: see encoding.c. */

#ifndef GRPC_GUARD_ENCODINGS_H
#define GRPC_GUARD_ENCODINGS_H

#include "looks.h"
#include "scratches.h"

enum { TAG_ROOM = 8, KNOWN = 64 }; /* bytes of a tag: see grpc_guard_put_few() */

typedef struct Encoding Encoding;

typedef struct {
    Py_ssize_t offset;
    char how; /* d: double, b: bool, i: int, s: text, r: a record, t: a tuple of records */
    char tag_size;
    char tag[TAG_ROOM];
    Encoding *of; /* for r and t */
} Field;

struct Encoding {
    PyObject_VAR_HEAD
    PyTypeObject *kind;
    Field fields[1];
};

/* A tuple that was met in this call, and its bytes: most parties stand at the same few lines. */
typedef struct {
    PyObject *records;
    const Field *field;
    Bytes bytes;
} Known;

typedef struct {
    Bytes bytes;
    Known known[KNOWN];
} Buffer;

/* Each returns 0; -1: an error is set. The last ones put a field, its tag before it. */
int grpc_guard_put_record(Buffer *buffer, Encoding *self, PyObject *record);
int grpc_guard_put_nested(Buffer *buffer, Encoding *of, PyObject *record); /* after its length */
int grpc_guard_put_tuple(Buffer *buffer, const Field *field, PyObject *records);
int grpc_guard_put_text(Buffer *buffer, const Field *field, PyObject *text);
int grpc_guard_put_double(Buffer *buffer, const Field *field, double number);

/* Writes a number as protobuf has it over eight bytes. */
static inline void
grpc_guard_pack(char *eight, double number)
{
#if PY_LITTLE_ENDIAN
    memcpy(eight, &number, sizeof(number));
#else
    (void)PyFloat_Pack8(number, eight, 1);
#endif
}

static inline int
grpc_guard_put_tag(Buffer *buffer, const Field *field)
{
    return grpc_guard_put_few(&buffer->bytes, field->tag, (size_t)field->tag_size);
}

static inline int
grpc_guard_put_int(Buffer *buffer, const Field *field, unsigned long long number)
{
    int failed = grpc_guard_put_tag(buffer, field);
    return failed < 0 ? -1 : grpc_guard_put_varint(&buffer->bytes, number);
}

/* The fields of a party, and what is told of one, borrowed. `held` is in seconds; below 0: unknown. If there
 * is a place for it, where that number is in the buffer is noted. */
enum { ITS_KIND, ITS_NAME, ITS_OPERATION, ITS_HELD, ITS_STACK, ITS_RELATION, STARTED_AT, OF_PARTY };

typedef struct {
    PyObject *kind, *name, *operation, *stack, *relation;
    double held;
    size_t *held_at;
} Party;

int grpc_guard_put_party(Buffer *buffer, const Field *field, const Party *party);

/* Takes the tag of a repeated field of records; -1: an error is set. */
int grpc_guard_take_tag(Field *field, const char *tag, Py_ssize_t size);

/* Has a buffer that is empty go on where the bytes of a Scratch end, which is busy until it gets them back. */
static inline void
grpc_guard_borrow_memory(Buffer *buffer, Scratch *scratch)
{
    buffer->bytes = scratch->bytes;
    scratch->bytes = (Bytes){NULL};
    scratch->is_busy = 1;
}

static inline void
grpc_guard_return_memory(Buffer *buffer, Scratch *scratch)
{
    scratch->bytes = buffer->bytes;
    buffer->bytes = (Bytes){NULL};
    scratch->is_busy = 0;
}

/* Lets go of a buffer that PyMem_Calloc() has made. */
void grpc_guard_free_buffer(Buffer *buffer);

#endif
