//! The bucket as a client on the wire sees it.

use super::*;
use crate::google::GoogleCloud;
use crate::google::client::{Answer, ask};
use crate::google::gcs_upload::PART_BYTES;

const KEY: &str = "/legwork%2Dtest/tasks%2F1%2Fmetadata%2Ejson";

async fn put(cloud: &GoogleCloud, target: &str, generation: &str, body: &[u8]) -> Answer {
    ask(&cloud.gcs_endpoint(), "PUT", target, &[(GENERATION_MATCH, generation)], body).await
}

async fn get(cloud: &GoogleCloud, target: &str, headers: &[(&str, &str)]) -> Answer {
    ask(&cloud.gcs_endpoint(), "GET", target, headers, b"").await
}

async fn keys(cloud: &GoogleCloud, query: &str) -> Vec<String> {
    let listing = get(cloud, &format!("/legwork-test?list-type=2&{query}"), &[]).await.text();
    let keys = listing.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>"));
    keys.map(|(key, _)| key.to_owned()).collect()
}

#[tokio::test]
async fn an_object_comes_back_with_its_type_and_its_generation() {
    let cloud = GoogleCloud::start().await;
    let headers = [("Content-Type", "application/json"), ("x-goog-meta-who", "me")];

    let written = ask(&cloud.gcs_endpoint(), "PUT", KEY, &headers, b"hello").await;
    let read = get(&cloud, KEY, &[]).await;

    assert_eq!((written.status, written.body.len()), (200, 0));
    // The MD5 of "hello".
    assert_eq!(written.header("etag"), Some("\"5d41402abc4b2a76b9719d911017c592\""));
    assert_eq!(read.status, 200);
    assert_eq!(read.body, b"hello");
    assert_eq!(read.header("content-type"), Some("application/json"));
    assert_eq!(read.header("x-goog-meta-who"), Some("me"));
    assert_eq!(read.header("etag"), written.header("etag"));
    assert_eq!(read.header("x-goog-generation"), written.header("x-goog-generation"));
    assert!(read.header("last-modified").unwrap().ends_with(" GMT"));
    assert_eq!(cloud.object("tasks/1/metadata.json").unwrap(), "hello");
}

#[tokio::test]
async fn a_head_has_the_size_and_no_body() {
    let cloud = GoogleCloud::start().await;
    put(&cloud, KEY, "0", b"hello").await;

    let head = ask(&cloud.gcs_endpoint(), "HEAD", KEY, &[], b"").await;

    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some("5"));
    assert!(head.header("x-goog-generation").is_some());
}

#[tokio::test]
async fn a_write_of_another_generation_is_refused() {
    let cloud = GoogleCloud::start().await;

    let first = put(&cloud, KEY, "0", b"same").await;
    let again = put(&cloud, KEY, "0", b"again").await;
    let generation = first.header("x-goog-generation").unwrap();
    let swapped = put(&cloud, KEY, generation, b"same").await;
    let stale = put(&cloud, KEY, generation, b"stale").await;

    assert_eq!([first.status, again.status, swapped.status, stale.status], [200, 412, 200, 412]);
    assert_eq!(again.element("Code").unwrap(), "PreconditionFailed");
    assert_eq!(cloud.object("tasks/1/metadata.json").unwrap(), "same");
    // The same bytes have the same entity tag: only generations tell writes apart.
    assert_eq!(first.header("etag"), swapped.header("etag"));
    assert_ne!(first.header("x-goog-generation"), swapped.header("x-goog-generation"));
}

#[tokio::test]
async fn ranges_are_parts_of_the_object() {
    let cloud = GoogleCloud::start().await;
    put(&cloud, KEY, "0", b"0123456789").await;

    for (range, body, content_range) in [
        ("bytes=1-2", "12", "bytes 1-2/10"),
        ("bytes=8-20", "89", "bytes 8-9/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-1", "9", "bytes 9-9/10"),
    ] {
        let part = get(&cloud, KEY, &[("Range", range)]).await;

        assert_eq!((part.status, part.text().as_str()), (206, body));
        assert_eq!(part.header("content-range"), Some(content_range));
    }
    let past = get(&cloud, KEY, &[("Range", "bytes=10-12")]).await;
    assert_eq!((past.status, past.element("Code").unwrap().as_str()), (416, "InvalidRange"));
}

#[tokio::test]
async fn what_is_missing_is_told_in_xml() {
    let cloud = GoogleCloud::start().await;

    let key = get(&cloud, KEY, &[]).await;
    let bucket = get(&cloud, "/else?list-type=2", &[]).await;
    let deleted = ask(&cloud.gcs_endpoint(), "DELETE", KEY, &[], b"").await;

    assert_eq!((key.status, key.element("Code").unwrap().as_str()), (404, "NoSuchKey"));
    assert_eq!((bucket.status, bucket.element("Code").unwrap().as_str()), (404, "NoSuchBucket"));
    assert_eq!((deleted.status, deleted.element("Code").unwrap().as_str()), (404, "NoSuchKey"));
}

#[tokio::test]
async fn a_deleted_object_is_gone_and_may_be_made_again() {
    let cloud = GoogleCloud::start().await;
    put(&cloud, KEY, "0", b"a").await;

    let deleted = ask(&cloud.gcs_endpoint(), "DELETE", KEY, &[], b"").await;

    assert_eq!(deleted.status, 204);
    assert_eq!(cloud.objects(), Vec::<String>::new());
    assert_eq!(put(&cloud, KEY, "0", b"b").await.status, 200);
}

#[tokio::test]
async fn a_listing_is_ordered_and_below_its_prefix_after_its_start() {
    let cloud = GoogleCloud::start().await;
    for key in ["l/02", "m/01", "l/10", "l/01", "k/99", "l%2F%26"] {
        put(&cloud, &format!("/legwork-test/{key}"), "0", b"x").await;
    }

    assert_eq!(keys(&cloud, "prefix=l%2F").await, ["l/&amp;", "l/01", "l/02", "l/10"]);
    assert_eq!(keys(&cloud, "prefix=l%2F&start-after=l%2F01").await, ["l/02", "l/10"]);
    assert_eq!(keys(&cloud, "prefix=l%2F&start-after=a").await.len(), 4);
    assert_eq!(keys(&cloud, "prefix=l%2F&start-after=z").await, Vec::<String>::new());
    assert_eq!(keys(&cloud, "").await.len(), 6);
}

#[tokio::test]
async fn a_listing_comes_in_pages() {
    let cloud = GoogleCloud::start().await.with_page_limit(2);
    for key in ["a/1", "a/2", "a/3", "b/1"] {
        put(&cloud, &format!("/legwork-test/{key}"), "0", b"x").await;
    }

    let first = get(&cloud, "/legwork-test?list-type=2&prefix=a%2F", &[]).await;
    let token = first.element("NextContinuationToken").unwrap();
    let second =
        format!("/legwork-test?list-type=2&prefix=a%2F&continuation-token={}", token.replace('=', "%3D"));
    let second = get(&cloud, &second, &[]).await;

    assert_eq!(first.text().matches("<Key>").count(), 2);
    assert_eq!(first.element("IsTruncated").unwrap(), "true");
    assert_eq!(second.element("Key").unwrap(), "a/3");
    assert_eq!(second.element("IsTruncated").unwrap(), "false");
    assert_eq!(second.element("NextContinuationToken"), None);
}

#[tokio::test]
async fn a_checksum_that_does_not_fit_refuses_the_write() {
    let cloud = GoogleCloud::start().await;
    let endpoint = cloud.gcs_endpoint();
    let right = [("x-goog-hash", "crc32c=mnG7TA==,md5=XUFAKrxLKna5cZ2REBfFkg==")];
    let wrong = [("x-goog-hash", "crc32c=AAAAAA==")];
    let md5 = [("Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA==")];

    assert_eq!(ask(&endpoint, "PUT", KEY, &wrong, b"hello").await.element("Code").unwrap(), "BadDigest");
    assert_eq!(ask(&endpoint, "PUT", KEY, &md5, b"hello").await.status, 400);
    assert_eq!(cloud.objects(), Vec::<String>::new());
    assert_eq!(ask(&endpoint, "PUT", KEY, &right, b"hello").await.status, 200);
}

#[tokio::test]
async fn an_object_is_written_once_a_second_where_that_is_limited() {
    let cloud = GoogleCloud::start().await.with_write_limit();

    let first = put(&cloud, KEY, "0", b"a").await;
    let generation = first.header("x-goog-generation").unwrap();
    let early = put(&cloud, KEY, generation, b"b").await;
    let other = put(&cloud, "/legwork-test/else", "0", b"c").await;

    assert_eq!((first.status, early.status, other.status), (200, 429, 200));
    assert_eq!(early.element("Code").unwrap(), "SlowDown");
    assert_eq!(cloud.object("tasks/1/metadata.json").unwrap(), "a");
}

#[tokio::test]
async fn what_is_not_implemented_is_refused() {
    let cloud = GoogleCloud::start().await;
    put(&cloud, KEY, "0", b"a").await;

    let header = get(&cloud, KEY, &[("If-None-Match", "*")]).await;
    let query = get(&cloud, "/legwork-test?list-type=2&delimiter=%2F", &[]).await;

    assert_eq!((header.status, query.status), (501, 501));
}

#[tokio::test]
async fn parts_become_an_object_when_the_upload_is_completed() {
    let cloud = GoogleCloud::start().await;
    let endpoint = cloud.gcs_endpoint();
    let begun =
        ask(&endpoint, "POST", &format!("{KEY}?uploads="), &[("Content-Type", "text/plain")], b"").await;
    let upload = begun.element("UploadId").unwrap();
    let first = vec![b'x'; PART_BYTES];
    let mut tags = Vec::new();
    for (number, bytes) in [(2, b"end".as_slice()), (1, first.as_slice())] {
        let target = format!("{KEY}?partNumber={number}&uploadId={upload}");
        tags.push(ask(&endpoint, "PUT", &target, &[], bytes).await.header("etag").unwrap().to_owned());
    }
    let list = format!(
        "<CompleteMultipartUpload><Part><ETag>{}</ETag><PartNumber>1</PartNumber></Part>\
         <Part><ETag>{}</ETag><PartNumber>2</PartNumber></Part></CompleteMultipartUpload>",
        tags[1], tags[0]
    );
    assert_eq!(cloud.unfinished_uploads(), 1);

    let target = format!("{KEY}?uploadId={upload}");
    let completed = ask(&endpoint, "POST", &target, &[], list.as_bytes()).await;

    let object = cloud.object("tasks/1/metadata.json").unwrap();
    assert_eq!(completed.status, 200);
    assert!(completed.element("ETag").unwrap().contains("-2"));
    assert_eq!(object.len(), PART_BYTES + 3);
    assert!(object.ends_with(b"xend"));
    assert_eq!(get(&cloud, KEY, &[]).await.header("content-type"), Some("text/plain"));
    assert_eq!(cloud.unfinished_uploads(), 0);
    assert_eq!(ask(&endpoint, "POST", &target, &[], list.as_bytes()).await.status, 404);
}

#[tokio::test]
async fn an_upload_with_a_small_part_before_the_last_is_refused_and_can_be_given_up() {
    let cloud = GoogleCloud::start().await;
    let endpoint = cloud.gcs_endpoint();
    let begun = ask(&endpoint, "POST", &format!("{KEY}?uploads"), &[], b"").await;
    let target = format!("{KEY}?uploadId={}", begun.element("UploadId").unwrap());
    let mut list = Vec::new();
    for number in [1, 2] {
        let part = ask(&endpoint, "PUT", &format!("{target}&partNumber={number}"), &[], b"small").await;
        let tag = part.header("etag").unwrap();
        list.push(format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"));
    }
    let list = format!("<CompleteMultipartUpload>{}</CompleteMultipartUpload>", list.concat());

    let refused = ask(&endpoint, "POST", &target, &[], list.as_bytes()).await;
    let aborted = ask(&endpoint, "DELETE", &target, &[], b"").await;

    assert_eq!(refused.element("Code").unwrap(), "EntityTooSmall");
    assert_eq!(aborted.status, 204);
    assert_eq!(cloud.objects(), Vec::<String>::new());
    assert_eq!(cloud.unfinished_uploads(), 0);
}
