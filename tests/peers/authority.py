# SPDX-License-Identifier: MIT
"""A certificate authority, by the openssl program: good certificates, and those that are not."""

import os
import subprocess

from support import PATIENCE

CONFIGURATION = """
[ca]
default_ca = this
[this]
database = index.txt
rand_serial = yes
new_certs_dir = .
policy = names
default_md = sha256
default_days = 2
default_crl_days = 2
unique_subject = no
[names]
commonName = supplied
"""


class Authority:
    """Has a folder of its own inside of `folder`. Everything it returns are paths of PEM files."""

    def __init__(self, folder, name="authority"):
        self.folder = os.path.join(folder, name)
        os.mkdir(self.folder)
        self._write("ca.cnf", CONFIGURATION)
        self._write("index.txt", "")
        self.cert, self.key = self._path("ca.pem"), self._path("ca.key")
        self._openssl("req", "-x509", *self._new_key(self.key), "-days", "2", "-subj",
                      f"/CN={name}", "-out", self.cert)

    def _path(self, name):
        return os.path.join(self.folder, name)

    def _write(self, name, text):
        with open(self._path(name), "w", encoding="ascii") as file:
            file.write(text)
        return self._path(name)

    def _openssl(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True,
                       stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE)

    def _ca(self, *arguments):
        self._openssl("ca", "-batch", "-config", "ca.cnf", "-cert", self.cert, "-keyfile", self.key,
                      *arguments)

    @staticmethod
    def _new_key(path):
        return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", path)

    def issue(self, name, *names, start="", end="", extensions=()):
        """A certificate, for two days from now unless told otherwise, and its key. `names` are such
        as "DNS:localhost"; the dates are such as "20200131000000Z".
        """
        cert, key, request = (self._path(f"{name}.{kind}") for kind in ("pem", "key", "csr"))
        lines = [f"subjectAltName = {', '.join(names)}"] if names else []
        lines += ["basicConstraints = CA:false", *extensions]
        dates = [*(("-startdate", start) if start else ()), *(("-enddate", end) if end else ())]
        self._openssl("req", *self._new_key(key), "-subj", f"/CN={name}", "-out", request)
        self._ca("-notext", "-in", request, "-out", cert, *dates,
                 "-extfile", self._write(f"{name}.ext", "\n".join(lines)))
        return cert, key

    def revoke(self, cert):
        self._ca("-revoke", cert)

    def revocations(self):
        """The list of those that are revoked."""
        self._ca("-gencrl", "-out", self._path("crl.pem"))
        return self._path("crl.pem")
