// How a receiver verifies a webhook, by the scheme of Standard Webhooks: what docs/webhooks.md has of it, which tests run. A test compares them.

/** @type {[language: string, code: string][]} */
export const SNIPPETS = [
  [
    "Python",
    `import base64, hashlib, hmac, re, time

def recent(t):
    return re.fullmatch("[0-9]{1,12}", t) is not None and abs(time.time() - int(t)) <= 300

def equal(a, b):
    return hmac.compare_digest(a.encode(), b.encode())

def verify_standard(secret, headers, body):
    key = base64.b64decode(secret.removeprefix("whsec_"))
    id, t = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    mac = hmac.new(key, f"{id}.{t}.".encode() + body, hashlib.sha256).digest()
    expected = "v1," + base64.b64encode(mac).decode()
    return recent(t) and any(equal(s, expected) for s in headers.get("webhook-signature", "").split(" "))`,
  ],
  [
    "JavaScript",
    `const { createHmac, timingSafeEqual } = require("node:crypto");

const recent = (t) => Math.abs(Date.now() / 1000 - Number(t)) <= 300;
const equal = (a, b) => {
  const [x, y] = [Buffer.from(a), Buffer.from(b)];
  return x.length === y.length && timingSafeEqual(x, y);
};

function verifyStandard(secret, headers, body) {
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const t = headers["webhook-timestamp"] ?? "";
  const mac = createHmac("sha256", key).update(\`\${headers["webhook-id"]}.\${t}.\`).update(body);
  const expected = "v1," + mac.digest("base64");
  return recent(t) && (headers["webhook-signature"] ?? "").split(" ").some((s) => equal(s, expected));
}`,
  ],
  [
    "Java",
    `import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.*;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

class Webhooks {
    static byte[] hmac(byte[] key, String prefix, byte[] body) throws Exception {
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key, "HmacSHA256"));
        mac.update(prefix.getBytes(StandardCharsets.UTF_8));
        return mac.doFinal(body);
    }

    static boolean recent(String t) {
        return t.matches("[0-9]{1,12}") && Math.abs(System.currentTimeMillis() / 1000 - Long.parseLong(t)) <= 300;
    }

    static boolean equal(String a, String b) {
        return MessageDigest.isEqual(a.getBytes(StandardCharsets.UTF_8), b.getBytes(StandardCharsets.UTF_8));
    }

    static boolean verifyStandard(String secret, Map<String, String> headers, byte[] body) throws Exception {
        byte[] key = Base64.getDecoder().decode(secret.substring("whsec_".length()));
        String t = headers.getOrDefault("webhook-timestamp", "");
        byte[] mac = hmac(key, headers.get("webhook-id") + "." + t + ".", body);
        String expected = "v1," + Base64.getEncoder().encodeToString(mac);
        String[] given = headers.getOrDefault("webhook-signature", "").split(" ");
        return recent(t) && Arrays.stream(given).anyMatch(signature -> equal(signature, expected));
    }
}`,
  ],
  [
    "Go",
    `package webhooks

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"
)

func sign(key []byte, prefix string, body []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(prefix))
	mac.Write(body)
	return mac.Sum(nil)
}

func recent(t string) bool {
	seconds, err := strconv.ParseInt(t, 10, 64)
	return err == nil && time.Since(time.Unix(seconds, 0)).Abs() <= 5*time.Minute
}

func VerifyStandard(secret string, headers http.Header, body []byte) bool {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return false
	}
	t := headers.Get("webhook-timestamp")
	mac := sign(key, headers.Get("webhook-id")+"."+t+".", body)
	expected := "v1," + base64.StdEncoding.EncodeToString(mac)
	for _, signature := range strings.Fields(headers.Get("webhook-signature")) {
		if hmac.Equal([]byte(signature), []byte(expected)) {
			return recent(t)
		}
	}
	return false
}`,
  ],
  [
    "Ruby",
    `require "base64"
require "openssl"

def recent?(t) = t.match?(/\\A[0-9]{1,12}\\z/) && (Time.now.to_i - t.to_i).abs <= 300

def verify_standard(secret, headers, body)
  key = Base64.strict_decode64(secret.delete_prefix("whsec_"))
  t = headers["webhook-timestamp"].to_s
  mac = OpenSSL::HMAC.digest("SHA256", key, "#{headers["webhook-id"]}.#{t}.".b + body)
  expected = "v1,#{Base64.strict_encode64(mac)}"
  recent?(t) && headers["webhook-signature"].to_s.split.any? { |s| OpenSSL.secure_compare(s, expected) }
end`,
  ],
  [
    "PHP",
    `<?php
function recent(string $t): bool {
    return preg_match('/^[0-9]{1,12}$/D', $t) === 1 && abs(time() - (int) $t) <= 300;
}

function verify_standard(string $secret, array $headers, string $body): bool {
    $key = base64_decode(substr($secret, strlen('whsec_')));
    $id = $headers['webhook-id'] ?? '';
    $t = $headers['webhook-timestamp'] ?? '';
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$t.$body", $key, true));
    foreach (explode(' ', $headers['webhook-signature'] ?? '') as $signature) {
        if (hash_equals($expected, $signature)) return recent($t);
    }
    return false;
}`,
  ],
];
