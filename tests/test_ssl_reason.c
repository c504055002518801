/* SPDX-License-Identifier: MIT */
/*
 * test_ssl_reason.c: what is taken out of OpenSSL's queue of errors. Goal: the sentence that says
 * what happened, whichever version of OpenSSL piled up how many layers over it.
 * Method: the queues that versions of OpenSSL leave, made by hand.
 */
#include "support.h"
#include "tls/contexts.h"

#include <openssl/asn1err.h>
#include <openssl/err.h>
#include <openssl/pemerr.h>
#include <openssl/sslerr.h>

/* As of OpenSSL 3.2; the headers of before do not have it. */
#define RECORD_LAYER_FAILURE 313

static void assert_reason(int code, int system_code, const char *sentence)
{
    pco__ssl_reason reason = pco__ssl_take_reason();
    assert_int_equal(reason.code, code);
    assert_int_equal(reason.system_code, system_code);
    assert_string_equal(reason.sentence, sentence);
    assert_int_equal(ERR_peek_error(), 0);
}

static void a_broken_record_is_told_alike_by_all_versions(void **state)
{
    (void)state;
    ERR_raise(ERR_LIB_SSL, SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC);
    assert_reason(PCO_ETLS, SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC,
                  "decryption failed or bad record mac");
    ERR_raise(ERR_LIB_SSL, SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC);
    ERR_raise(ERR_LIB_SSL, RECORD_LAYER_FAILURE);
    assert_reason(PCO_ETLS, SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC,
                  "decryption failed or bad record mac");
}

static void what_others_have_left_is_not_told(void **state)
{
    (void)state;
    ERR_raise(ERR_LIB_ASN1, ASN1_R_WRONG_TAG);
    ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
    ERR_raise(ERR_LIB_SSL, SSL_R_WRONG_VERSION_NUMBER);
    ERR_raise(ERR_LIB_SSL, RECORD_LAYER_FAILURE);
    assert_reason(PCO_ETLS, SSL_R_WRONG_VERSION_NUMBER, "wrong version number");
}

static void where_layers_name_each_other_the_deepest_tells(void **state)
{
    (void)state;
    ERR_raise(ERR_LIB_ASN1, ASN1_R_WRONG_TAG);
    ERR_raise(ERR_LIB_ASN1, ERR_R_NESTED_ASN1_ERROR);
    ERR_raise(ERR_LIB_SSL, ERR_R_ASN1_LIB);
    assert_reason(PCO_ETLS, ASN1_R_WRONG_TAG, "wrong tag");
    ERR_raise(ERR_LIB_SSL, ERR_R_INTERNAL_ERROR);
    assert_reason(PCO_ETLS, ERR_R_INTERNAL_ERROR, "internal error");
}

static void a_refused_certificate_has_a_code_of_its_own(void **state)
{
    (void)state;
    ERR_raise(ERR_LIB_SSL, SSL_R_CERTIFICATE_VERIFY_FAILED);
    assert_reason(PCO_ECERT, SSL_R_CERTIFICATE_VERIFY_FAILED, "certificate verify failed");
}

static void want_of_memory_is_told_as_that_wherever_it_stands(void **state)
{
    (void)state;
    ERR_raise(ERR_LIB_EVP, ERR_R_MALLOC_FAILURE);
    ERR_raise(ERR_LIB_SSL, SSL_R_BAD_LENGTH);
    assert_int_equal(pco__ssl_take_reason().code, PCO_ENOMEM);
    assert_int_equal(ERR_peek_error(), 0);
}

static void an_alert_without_a_sentence_is_called_by_its_name(void **state)
{
    (void)state;
    ERR_raise(ERR_LIB_SSL, SSL_AD_REASON_OFFSET + SSL_AD_CLOSE_NOTIFY);
    assert_reason(PCO_ETLS, SSL_AD_REASON_OFFSET, "close notify");
    ERR_raise(ERR_LIB_SSL, SSL_AD_REASON_OFFSET + 200);
    assert_reason(PCO_ETLS, SSL_AD_REASON_OFFSET + 200, "unknown");
}

static void an_error_is_filled_in_with_the_deepest_reason(void **state)
{
    pco_error error;
    (void)state;
    ERR_raise(ERR_LIB_ASN1, ASN1_R_WRONG_TAG);
    ERR_raise(ERR_LIB_ASN1, ERR_R_NESTED_ASN1_ERROR);
    ERR_raise(ERR_LIB_PEM, ERR_R_ASN1_LIB);
    assert_int_equal(pco__ssl_error(&error, PCO_ECERT, "certificate %d", 1), PCO_ECERT);
    assert_string_equal(error.message, "certificate 1: wrong tag");
    assert_int_equal(error.system_code, ASN1_R_WRONG_TAG);

    /* Where nobody has said why, it was for want of memory. */
    assert_int_equal(pco__ssl_error(&error, PCO_ECERT, "certificate"), PCO_ENOMEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_broken_record_is_told_alike_by_all_versions),
        cmocka_unit_test(what_others_have_left_is_not_told),
        cmocka_unit_test(where_layers_name_each_other_the_deepest_tells),
        cmocka_unit_test(a_refused_certificate_has_a_code_of_its_own),
        cmocka_unit_test(want_of_memory_is_told_as_that_wherever_it_stands),
        cmocka_unit_test(an_alert_without_a_sentence_is_called_by_its_name),
        cmocka_unit_test(an_error_is_filled_in_with_the_deepest_reason),
    };
    OPENSSL_init_ssl(OPENSSL_INIT_LOAD_SSL_STRINGS, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
