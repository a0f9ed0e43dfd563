// Redirect URIs as the API accepts them, checked while they are typed: what is wrong with each, in words.

const MOST_BYTES = 1024;
const FORM = "not an absolute URI in its normal form, such as https://app.example.com/callback";

/** What is wrong with a redirect URI; empty when nothing is. @param {string} text */
export function redirectProblem(text) {
  if (text.length > MOST_BYTES || !/^[\x21-\x7e]+$/.test(text) || text.includes("*") || !URL.canParse(text)) return FORM;
  const url = new URL(text);
  if (url.hash || text.includes("#")) return "it must not have a fragment";
  if (url.username || url.password || text.includes("@")) return "it must not have a user or password";
  if (url.href !== text) return `not in its normal form, which is ${url.href}`;
  if (url.protocol === "https:") return "";
  if (url.protocol === "http:") {
    return /^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname) ? "" : "plain http is for 127.0.0.1, [::1] and localhost only";
  }
  return url.protocol.includes(".") && !url.host ? "" : "it must be https, or an application's own scheme such as com.example.app:/callback";
}

/** The URIs of a text, one a line. @param {string} text */
export function redirectsIn(text) {
  return text.split(/\s+/).filter(Boolean);
}
