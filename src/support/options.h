/* SPDX-License-Identifier: MIT */
/*
 * options.h (internal): the structs whose first field is their own size, and checks of single
 * options.
 *
 * A program that was compiled against an older header has a shorter struct: what it does not have
 * is zero. So a field counts if all of it is inside the size, and a size that ends anywhere but
 * between two fields is no version's. Whoever appends a field adds it to the struct's layout, and
 * lets it begin where the struct has ended before, not in the padding behind its last field.
 */
#ifndef PCO_OPTIONS_INTERNAL_H
#define PCO_OPTIONS_INTERNAL_H

#include <portico/base.h>

typedef struct pco__field {
    size_t offset;
    size_t size;
} pco__field;

/* A struct whose first field is `size_t size`. */
typedef struct pco__layout {
    const char *name;
    size_t size;              /* of the whole, as this library knows it */
    size_t least;             /* the size of the oldest version that is understood */
    const pco__field *fields; /* all but `size` */
    size_t fields_count;
} pco__layout;

#define PCO__FIELD(type, field)                                                                    \
    {                                                                                              \
        offsetof(type, field), sizeof(((type *)NULL)->field)                                       \
    }

/* The layout of `type`; `fields` is an array of PCO__FIELD. */
#define PCO__LAYOUT(type, least_, fields_)                                                         \
    {                                                                                              \
        .name = #type, .size = sizeof(type), .least = (least_), .fields = (fields_),               \
        .fields_count = sizeof(fields_) / sizeof(fields_)[0]                                       \
    }

/* Checks the size of a struct that a program has filled in, or wants filled in. PCO_EINVAL. */
int pco__size_check(const pco__layout *layout, size_t size, pco_error *error);

/*
 * Copies what `given` has of the struct to `to`, a whole one, where the rest becomes zero and the
 * size the whole's. PCO_EINVAL: a wrong size.
 */
int pco__options_read(const pco__layout *layout, const void *given, void *to, pco_error *error);

/* The other way: copies of the whole what `wanted` has room for. PCO_EINVAL: a wrong size. */
int pco__options_fill(const pco__layout *layout, const void *whole, void *wanted);

/* Checks a time in seconds of an option. PCO_EINVAL: NaN, negative, infinite unless allowed. */
int pco__check_seconds(double seconds, bool infinite_allowed, const char *name, pco_error *error);

/* Checks a PCO_DEFAULT, PCO_ON, PCO_OFF of an option. PCO_EINVAL. */
int pco__check_switch(int value, const char *name, pco_error *error);

/* An option that only makes sense elsewhere, and whether it is given all the same. */
typedef struct pco__given {
    bool is_given;
    const char *name;
} pco__given;

/* None of these may be given: PCO_EINVAL; the sentence names the first that is, and its place. */
int pco__check_none_given(const pco__given *options, size_t count, const char *meant_for,
                          pco_error *error);

#endif
