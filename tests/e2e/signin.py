"""Signing in as a browser would: authorization code with PKCE (RFC 7636)."""

import base64
import hashlib
import secrets
import urllib.parse

from client import request

REDIRECT = "http://127.0.0.1:39999/callback"


def _b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _follow(issuer, url, limit=10):
    """Follows redirects inside the issuer, with cookies, until one leaves it."""
    cookies = {}
    for _ in range(limit):
        answer = request("GET", url, headers={"Cookie": "; ".join(f"{k}={v}" for k, v in cookies.items())})
        cookies.update(answer.cookies())
        assert answer.status in (302, 303), f"{answer.status} at {url}: {answer.body[:200]!r}"
        url = urllib.parse.urljoin(url, answer.header("location"))
        if not url.startswith(issuer):
            return url
    raise AssertionError("the sign-in redirects without end")


def discover(issuer):
    answer = request("GET", f"{issuer}/.well-known/openid-configuration")
    assert answer.status == 200, f"discovery answered {answer.status}"
    return answer.json()


def authorize(issuer, client_id, who):
    """The authorization code for `who`, and the verifier that redeems it."""
    verifier, state = _b64(secrets.token_bytes(32)), _b64(secrets.token_bytes(12))
    query = urllib.parse.urlencode({
        "client_id": client_id, "response_type": "code", "redirect_uri": REDIRECT, "state": state,
        "scope": "openid profile email", "login_hint": who, "code_challenge_method": "S256",
        "code_challenge": _b64(hashlib.sha256(verifier.encode()).digest()),
    })
    back = _follow(issuer, f"{discover(issuer)['authorization_endpoint']}?{query}")
    answer = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(back).query))
    assert answer.get("state") == state, f"the state did not come back: {answer}"
    assert "code" in answer, f"no code: {answer.get('error')} {answer.get('error_description')}"
    return answer["code"], verifier


def redeem(issuer, client_id, code, verifier):
    form = urllib.parse.urlencode({
        "grant_type": "authorization_code", "client_id": client_id, "code": code,
        "redirect_uri": REDIRECT, "code_verifier": verifier,
    })
    return request("POST", discover(issuer)["token_endpoint"], form.encode(),
                   {"Content-Type": "application/x-www-form-urlencoded"})


def sign_in(issuer, client_id, who):
    """The token response: access_token, id_token, expires_in."""
    answer = redeem(issuer, client_id, *authorize(issuer, client_id, who))
    assert answer.status == 200, f"the token endpoint answered {answer.status}: {answer.body[:200]!r}"
    return answer.json()


def claims_of(token):
    """The claims inside a JWT, unverified: for showing, never for deciding."""
    import json
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
