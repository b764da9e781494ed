/* The providers that PocketBase's clients know by name. */
#include <string.h>

#include <kombi/str.h>

#include "auth_provider.h"

/* clang-format off */
#define OIDC(n) \
	{ n, "OIDC", "openid email profile", true, "", "", "", \
	  { "sub", "name", "preferred_username", "email", "email_verified", "picture", EMAIL_FLAG }, \
	  NULL, NULL, NULL, "" }

static const struct provider providers[] = {
	OIDC("oidc"), OIDC("oidc2"), OIDC("oidc3"),
	{ "google", "Google", "https://www.googleapis.com/auth/userinfo.profile https://www.googleapis.com/auth/userinfo.email", true,
	  "https://accounts.google.com/o/oauth2/v2/auth", "https://oauth2.googleapis.com/token", "https://www.googleapis.com/oauth2/v3/userinfo",
	  { "sub", "name", "", "email", "email_verified", "picture", EMAIL_FLAG }, NULL, NULL, NULL, "" },
	{ "apple", "Apple", "name email", true,
	  "https://appleid.apple.com/auth/authorize", "https://appleid.apple.com/auth/token", "",
	  { "sub", "name", "", "email", "email_verified", "", EMAIL_FLAG }, NULL, NULL, NULL, "&response_mode=form_post" },
	/* Anybody may write any address into a directory of their own. */
	{ "microsoft", "Microsoft", "User.Read", true,
	  "https://login.microsoftonline.com/common/oauth2/v2.0/authorize", "https://login.microsoftonline.com/common/oauth2/v2.0/token", "https://graph.microsoft.com/v1.0/me",
	  { "id", "displayName", "", "mail", NULL, "", EMAIL_UNKNOWN }, NULL, NULL, NULL, "" },
	{ "github", "GitHub", "read:user user:email", true,
	  "https://github.com/login/oauth/authorize", "https://github.com/login/oauth/access_token", "https://api.github.com/user",
	  { "id", "name", "login", "email", NULL, "avatar_url", EMAIL_SURE }, "https://api.github.com/user/emails", NULL, NULL, "" },
	{ "gitlab", "GitLab", "read_user", true,
	  "https://gitlab.com/oauth/authorize", "https://gitlab.com/oauth/token", "https://gitlab.com/api/v4/user",
	  { "id", "name", "username", "email", NULL, "avatar_url", EMAIL_SURE }, NULL, NULL, NULL, "" },
	{ "bitbucket", "Bitbucket", "account", false,
	  "https://bitbucket.org/site/oauth2/authorize", "https://bitbucket.org/site/oauth2/access_token", "https://api.bitbucket.org/2.0/user",
	  { "uuid", "display_name", "username", "", NULL, "links.avatar.href", EMAIL_UNKNOWN }, NULL, NULL, NULL, "" },
	{ "gitea", "Gitea", "read:user user:email", true,
	  "https://gitea.com/login/oauth/authorize", "https://gitea.com/login/oauth/access_token", "https://gitea.com/api/v1/user",
	  { "id", "full_name", "login", "email", NULL, "avatar_url", EMAIL_SURE }, NULL, NULL, NULL, "" },
	{ "gitee", "Gitee", "user_info emails", true,
	  "https://gitee.com/oauth/authorize", "https://gitee.com/oauth/token", "https://gitee.com/api/v5/user",
	  { "id", "name", "login", "email", NULL, "avatar_url", EMAIL_UNKNOWN }, NULL, NULL, NULL, "" },
	{ "discord", "Discord", "identify email", true,
	  "https://discord.com/api/oauth2/authorize", "https://discord.com/api/oauth2/token", "https://discord.com/api/users/@me",
	  { "id", "username", "username", "email", "verified", "", EMAIL_FLAG }, NULL, NULL, NULL, "" },
	{ "facebook", "Facebook", "email", true,
	  "https://www.facebook.com/v3.2/dialog/oauth", "https://graph.facebook.com/v3.2/oauth/access_token", "https://graph.facebook.com/me?fields=name,email,picture.type(large)",
	  { "id", "name", "", "email", NULL, "picture.data.url", EMAIL_SURE }, NULL, NULL, NULL, "" },
	{ "instagram2", "Instagram", "instagram_business_basic", true,
	  "https://www.instagram.com/oauth/authorize", "https://api.instagram.com/oauth/access_token", "https://graph.instagram.com/me?fields=id,username,account_type,user_id,name,profile_picture_url",
	  { "user_id", "name", "username", "", NULL, "profile_picture_url", EMAIL_UNKNOWN }, NULL, NULL, NULL, "" },
	{ "twitter", "X/Twitter", "users.read users.email tweet.read", true,
	  "https://x.com/i/oauth2/authorize", "https://api.x.com/2/oauth2/token", "https://api.x.com/2/users/me?user.fields=id,name,username,profile_image_url,confirmed_email",
	  { "data.id", "data.name", "data.username", "data.confirmed_email", NULL, "data.profile_image_url", EMAIL_SURE }, NULL, NULL, NULL, "" },
	{ "spotify", "Spotify", "user-read-private", true,
	  "https://accounts.spotify.com/authorize", "https://accounts.spotify.com/api/token", "https://api.spotify.com/v1/me",
	  { "id", "display_name", "", "", NULL, "images.0.url", EMAIL_UNKNOWN }, NULL, NULL, NULL, "" },
	{ "twitch", "Twitch", "user:read:email", true,
	  "https://id.twitch.tv/oauth2/authorize", "https://id.twitch.tv/oauth2/token", "https://api.twitch.tv/helix/users",
	  { "data.0.id", "data.0.display_name", "data.0.login", "data.0.email", NULL, "data.0.profile_image_url", EMAIL_SURE }, NULL, NULL, "Client-Id", "" },
	{ "kakao", "Kakao", "account_email profile_nickname profile_image", true,
	  "https://kauth.kakao.com/oauth/authorize", "https://kauth.kakao.com/oauth/token", "https://kapi.kakao.com/v2/user/me",
	  { "id", "", "properties.nickname", "kakao_account.email", "kakao_account.is_email_verified", "properties.profile_image", EMAIL_FLAG }, NULL, NULL, NULL, "" },
	{ "vk", "\u0412\u041a\u043e\u043d\u0442\u0430\u043a\u0442\u0435", "email", false,
	  "https://oauth.vk.com/authorize", "https://oauth.vk.com/access_token", "https://api.vk.com/method/users.get?fields=photo_max,screen_name&v=5.131",
	  { "response.0.id", "response.0.first_name", "response.0.screen_name", "", NULL, "response.0.photo_max", EMAIL_UNKNOWN }, NULL, NULL, NULL, "" },
	{ "yandex", "Yandex", "login:email login:avatar login:info", true,
	  "https://oauth.yandex.com/authorize", "https://oauth.yandex.com/token", "https://login.yandex.ru/info",
	  { "id", "real_name", "login", "default_email", NULL, "", EMAIL_UNKNOWN }, NULL, NULL, NULL, "" },
	{ "strava", "Strava", "profile:read_all", true,
	  "https://www.strava.com/oauth/authorize", "https://www.strava.com/api/v3/oauth/token", "https://www.strava.com/api/v3/athlete",
	  { "id", "firstname", "username", "", NULL, "profile", EMAIL_UNKNOWN }, NULL, NULL, NULL, "" },
	{ "livechat", "LiveChat", "", true,
	  "https://accounts.livechat.com/", "https://accounts.livechat.com/token", "https://accounts.livechat.com/v2/accounts/me",
	  { "account_id", "name", "", "email", "email_verified", "avatar_url", EMAIL_FLAG }, NULL, NULL, NULL, "" },
	{ "mailcow", "mailcow", "profile", true, "", "", "",
	  { "id", "full_name", "username", "email", NULL, "", EMAIL_SURE }, NULL, NULL, NULL, "" },
	{ "patreon", "Patreon", "identity identity[email]", true,
	  "https://www.patreon.com/oauth2/authorize", "https://www.patreon.com/api/oauth2/token", "https://www.patreon.com/api/oauth2/v2/identity?fields%5Buser%5D=full_name,email,vanity,image_url,is_email_verified",
	  { "data.id", "data.attributes.full_name", "data.attributes.vanity", "data.attributes.email", "data.attributes.is_email_verified", "data.attributes.image_url", EMAIL_FLAG }, NULL, NULL, NULL, "" },
	{ "planningcenter", "Planning Center", "people", true,
	  "https://api.planningcenteronline.com/oauth/authorize", "https://api.planningcenteronline.com/oauth/token", "https://api.planningcenteronline.com/people/v2/me",
	  { "data.id", "data.attributes.name", "", "", NULL, "data.attributes.avatar", EMAIL_UNKNOWN }, NULL, NULL, NULL, "" },
	{ "linear", "Linear", "read", false,
	  "https://linear.app/oauth/authorize", "https://api.linear.app/oauth/token", "https://api.linear.app/graphql",
	  { "data.viewer.id", "data.viewer.name", "data.viewer.displayName", "data.viewer.email", NULL, "data.viewer.avatarUrl", EMAIL_SURE },
	  NULL, "{\"query\":\"query Me { viewer { id displayName name email avatarUrl active } }\"}", NULL, "" },
	{ "monday", "monday.com", "me:read", true,
	  "https://auth.monday.com/oauth2/authorize", "https://auth.monday.com/oauth2/token", "https://api.monday.com/v2",
	  { "data.me.id", "data.me.name", "", "data.me.email", "data.me.is_verified", "data.me.photo_small", EMAIL_FLAG },
	  NULL, "{\"query\":\"query { me { id enabled name email is_verified photo_small } }\"}", NULL, "" },
	{ "notion", "Notion", "", true,
	  "https://api.notion.com/v1/oauth/authorize", "https://api.notion.com/v1/oauth/token", "https://api.notion.com/v1/users/me",
	  { "bot.owner.user.id", "bot.owner.user.name", "", "bot.owner.user.person.email", NULL, "bot.owner.user.avatar_url", EMAIL_SURE },
	  NULL, NULL, "Notion-Version: 2022-06-28", "" },
	{ "wakatime", "WakaTime", "email", true,
	  "https://wakatime.com/oauth/authorize", "https://wakatime.com/oauth/token", "https://wakatime.com/api/v1/users/current",
	  { "data.id", "data.display_name", "data.username", "data.email", "data.is_email_confirmed", "data.photo", EMAIL_FLAG }, NULL, NULL, NULL, "" },
	{ "box", "Box", "root_readonly", true,
	  "https://account.box.com/api/oauth2/authorize", "https://api.box.com/oauth2/token", "https://api.box.com/2.0/users/me",
	  { "id", "name", "", "login", NULL, "avatar_url", EMAIL_SURE }, NULL, NULL, NULL, "" },
	{ "trakt", "Trakt", "", true,
	  "https://trakt.tv/oauth/authorize", "https://api.trakt.tv/oauth/token", "https://api.trakt.tv/users/settings",
	  { "user.ids.uuid", "user.name", "user.username", "", NULL, "user.images.avatar.full", EMAIL_UNKNOWN }, NULL, NULL, NULL, "" },
	{ "lark", "Lark", "", true,
	  "https://accounts.feishu.cn/open-apis/authen/v1/authorize", "https://open.feishu.cn/open-apis/authen/v2/oauth/token", "https://open.feishu.cn/open-apis/authen/v1/user_info",
	  { "data.union_id", "data.name", "", "data.email", NULL, "data.avatar_url", EMAIL_UNKNOWN }, NULL, NULL, NULL, "" },
};
/* clang-format on */

const struct provider *
provider_find(const char *name)
{
	for (size_t i = 0; i < KB_COUNT(providers); i++)
		if (strcmp(providers[i].name, name) == 0)
			return &providers[i];
	return NULL;
}

const struct provider *
provider_all(size_t *n)
{
	*n = KB_COUNT(providers);
	return providers;
}

static void
override(const char **to, const char *with)
{
	if (with != NULL && with[0] != '\0')
		*to = with;
}

void
provider_fill(const struct oauth2_provider *conf, struct provider *p)
{
	*p = *provider_find(conf->name);
	override(&p->auth_url, conf->auth_url);
	override(&p->token_url, conf->token_url);
	override(&p->user_url, conf->user_info_url);
	override(&p->display, conf->display_name);
	if (conf->pkce_set)
		p->pkce = conf->pkce;
	/* Another host's list of addresses is not asked for. */
	if (conf->user_info_url != NULL && conf->user_info_url[0] != '\0')
		p->emails_url = NULL;
}

/* ---- the person
 * -------------------------------------------------------------------------- */

static const struct kb_json *
at_path(const struct kb_json *j, struct kb_arena *a, const char *path)
{
	struct kb_slice rest = kb_slice_of(path), part;
	uint64_t i;

	while (j != NULL && rest.len > 0 && kb_slice_next(&rest, '.', &part)) {
		if (kb_json_kind(j) == KB_JSON_ARRAY)
			j = kb_parse_u64(part, &i) ? kb_json_at(j, (size_t)i)
						   : NULL;
		else
			j = kb_json_get(j, kb_slice_dup(a, part));
	}
	return j;
}

/* Texts, and numbers as texts. */
static const char *
text_at(struct kb_arena *a, const struct kb_json *j, const char *path)
{
	if (path[0] == '\0')
		return "";
	j = at_path(j, a, path);
	if (j == NULL)
		return "";
	if (kb_json_kind(j) == KB_JSON_NUMBER)
		return kb_json_print(a, j);
	return kb_json_text(j) ? kb_json_text(j) : "";
}

/* Some providers say "true". */
static bool
true_at(struct kb_arena *a, const struct kb_json *j, const char *path)
{
	j = at_path(j, a, path);
	return j != NULL &&
	    (kb_json_kind(j) == KB_JSON_BOOL
		    ? kb_json_true(j)
		    : kb_str_eq(kb_json_text(j), "true"));
}

bool
person_read(struct kb_arena *a, const struct person_paths *paths,
    const struct kb_json *j, struct person *out)
{
	out->id = text_at(a, j, paths->id);
	out->name = text_at(a, j, paths->name);
	out->username = text_at(a, j, paths->username);
	out->email = text_at(a, j, paths->email);
	out->avatar = text_at(a, j, paths->avatar);
	out->raw = kb_json_print(a, j);
	if (!kb_is_email(out->email))
		out->email = "";
	out->verified = out->email[0] != '\0' &&
	    (paths->trust == EMAIL_SURE ||
		(paths->trust == EMAIL_FLAG && true_at(a, j, paths->verified)));
	/* One that is not known to be his is not told as his. */
	if (paths->trust == EMAIL_FLAG && !out->verified)
		out->email = "";
	return out->id[0] != '\0';
}
