/* SPDX-License-Identifier: MIT */
/*
 * error.c: the names and sentences of the error codes, and filling in a pco_error. A message that
 * does not fit is cut between two characters of UTF-8, never inside one.
 */
#include "support/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *pco_error_name(int code)
{
    switch (code) {
#define NAME(name, number, sentence)                                                               \
    case number:                                                                                   \
        return "PCO_" #name;
        PCO_ERROR_MAP(NAME)
#undef NAME
    default:
        return "PCO_EUNKNOWN";
    }
}

const char *pco_strerror(int code)
{
    switch (code) {
    case 0:
        return "success";
#define SENTENCE(name, number, sentence)                                                           \
    case number:                                                                                   \
        return sentence;
        PCO_ERROR_MAP(SENTENCE)
#undef SENTENCE
    default:
        return pco_strerror(PCO_EUNKNOWN);
    }
}

/* Where a text that was cut at `end` should end, so that no character of UTF-8 is broken. */
static size_t whole_characters(const char *text, size_t end)
{
    size_t start = end;
    unsigned char lead;
    size_t length;

    while (start > 0 && end - start < 3 && ((unsigned char)text[start - 1] & 0xC0) == 0x80) {
        start--;
    }
    if (start == 0) {
        return end;
    }
    lead = (unsigned char)text[start - 1];
    length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    return end - (start - 1) < length ? start - 1 : end;
}

/* Formats into text[0..size), and returns the length. */
static size_t format_cut(char *text, size_t size, const char *format, va_list arguments)
{
    int length = vsnprintf(text, size, format, arguments);

    if (length < 0) {
        length = 0; /* an encoding error: the message is empty */
    }
    if ((size_t)length >= size) {
        length = (int)whole_characters(text, size - 1);
    }
    text[length] = '\0';
    return (size_t)length;
}

int pco__error_set(pco_error *error, int code, int system_code, const char *format, ...)
{
    va_list arguments;

    if (error == NULL) {
        return code;
    }
    error->code = code;
    error->system_code = system_code;
    va_start(arguments, format);
    format_cut(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    return code;
}

/* Where the whole is too long, the front is cut: why it failed matters more. */
int pco__error_describe(pco_error *error, int code, int system_code, const char *format, ...)
{
    const char *sentence = pco_strerror(code);
    size_t tail = strlen(sentence) + 2;
    size_t length;
    va_list arguments;

    if (error == NULL) {
        return code;
    }
    error->code = code;
    error->system_code = system_code;
    va_start(arguments, format);
    length = format_cut(error->message, sizeof error->message - tail, format, arguments);
    va_end(arguments);
    snprintf(error->message + length, tail + 1, ": %s", sentence);
    return code;
}
