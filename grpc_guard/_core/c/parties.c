/* A party as bytes, without its record: for answering.c and serving.c. */

#include "encodings.h"

int
grpc_guard_put_party(Buffer *buffer, const Field *field, const Party *party)
{
    const Field *of = field->of->fields;
    if (grpc_guard_put_tag(buffer, field) < 0) {
        return -1;
    }
    size_t at = buffer->bytes.size;
    int failed = grpc_guard_put_text(buffer, &of[ITS_KIND], party->kind) < 0
                 || grpc_guard_put_text(buffer, &of[ITS_NAME], party->name) < 0
                 || grpc_guard_put_text(buffer, &of[ITS_OPERATION], party->operation) < 0
                 || (party->held >= 0.0
                     && grpc_guard_put_double(buffer, &of[ITS_HELD], party->held) < 0);
    size_t held = buffer->bytes.size - sizeof(double);
    failed = failed || grpc_guard_put_tuple(buffer, &of[ITS_STACK], party->stack) < 0
             || grpc_guard_put_text(buffer, &of[ITS_RELATION], party->relation) < 0;
    size_t end = buffer->bytes.size;
    failed = failed || grpc_guard_put_length_at(&buffer->bytes, at) < 0;
    if (party->held_at != NULL && party->held >= 0.0) {
        *party->held_at = held + buffer->bytes.size - end;
    }
    return failed ? -1 : 0;
}

int
grpc_guard_take_tag(Field *field, const char *tag, Py_ssize_t size)
{
    if (size > TAG_ROOM) {
        PyErr_SetString(PyExc_ValueError, "a tag is a few bytes");
        return -1;
    }
    memcpy(field->tag, tag, size);
    field->tag_size = (char)size;
    return 0;
}
