/* SPDX-License-Identifier: MIT */
/* options.c: reading and filling structs that may be of an older version, and single options. */
#include "support/options.h"

#include <math.h>
#include <string.h>

#include "support/error.h"

/* ---- Structs with a size ---- */

/* Whether a version of the struct may have ended there: no field is cut in two. */
static bool is_between_fields(const pco__layout *layout, size_t size)
{
    if (size == sizeof(size_t) || size == layout->size) {
        return true;
    }
    for (size_t i = 0; i < layout->fields_count; i++) {
        const pco__field *field = &layout->fields[i];
        if (size == field->offset || size == field->offset + field->size) {
            return true;
        }
    }
    return false;
}

int pco__size_check(const pco__layout *layout, size_t size, pco_error *error)
{
    const char *name = layout->name;
    if (size == 0) {
        return pco__error_set(error, PCO_EINVAL, 0, "%s.size is 0: set it to sizeof(%s)", name,
                              name);
    }
    if (size > layout->size) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "%s.size is %zu, this library knows %zu bytes: it is older than the "
                              "header",
                              name, size, layout->size);
    }
    if (size < layout->least || !is_between_fields(layout, size)) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "%s.size is %zu, which no version has: set it to sizeof(%s)", name,
                              size, name);
    }
    return 0;
}

static size_t size_of(const void *given)
{
    size_t size;
    memcpy(&size, given, sizeof size);
    return size;
}

int pco__options_read(const pco__layout *layout, const void *given, void *to, pco_error *error)
{
    size_t size = size_of(given);
    int code = pco__size_check(layout, size, error);
    if (code == 0) {
        memset(to, 0, layout->size);
        memcpy(to, given, size);
        memcpy(to, &layout->size, sizeof layout->size);
    }
    return code;
}

int pco__options_fill(const pco__layout *layout, const void *whole, void *wanted)
{
    size_t size = size_of(wanted);
    int code = pco__size_check(layout, size, NULL);
    if (code == 0) {
        memcpy(wanted, whole, size);
        memcpy(wanted, &size, sizeof size);
    }
    return code;
}

/* ---- Single options ---- */

int pco__check_seconds(double seconds, bool infinite_allowed, const char *name, pco_error *error)
{
    if (isnan(seconds)) {
        return pco__error_set(error, PCO_EINVAL, 0, "%s is not a number", name);
    }
    if (seconds < 0) {
        return pco__error_set(error, PCO_EINVAL, 0, "%s is negative", name);
    }
    if (isinf(seconds) && !infinite_allowed) {
        return pco__error_set(error, PCO_EINVAL, 0, "%s is infinite", name);
    }
    return 0;
}

int pco__check_switch(int value, const char *name, pco_error *error)
{
    if (value != PCO_DEFAULT && value != PCO_ON && value != PCO_OFF) {
        return pco__error_set(error, PCO_EINVAL, 0,
                              "%s is %d, neither PCO_DEFAULT, PCO_ON nor PCO_OFF", name, value);
    }
    return 0;
}

int pco__check_none_given(const pco__given *options, size_t count, const char *meant_for,
                          pco_error *error)
{
    for (size_t i = 0; i < count; i++) {
        if (options[i].is_given) {
            return pco__error_set(error, PCO_EINVAL, 0, "%s is only meaningful for %s",
                                  options[i].name, meant_for);
        }
    }
    return 0;
}
