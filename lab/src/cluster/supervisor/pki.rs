//! The cluster's keys and certificates, new for each lab.

use std::fs;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

use super::daemons::write_json;
use crate::cluster::config;
use crate::cluster::plan::{self, API_SERVICE, NODE_A, NODES};
use crate::cluster::run_directory::RunDirectory;

/// The names under which the API server is called, but for its addresses.
const API_SERVER_NAMES: [&str; 4] =
    ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"];

/// Writes all keys and certificates, and a kubeconfig for each daemon.
pub(super) fn create(run: &RunDirectory, slot: u8) -> Result<()> {
    fs::create_dir_all(run.pki("")).context("the folder for keys cannot be made")?;
    let key = KeyPair::generate().context("the cluster's CA key cannot be made")?;
    let mut params =
        CertificateParams::new(Vec::new()).context("the cluster's CA cannot be made")?;
    params.distinguished_name = name("lab-ca", None);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    let certificate = params.self_signed(&key).context("the cluster's CA cannot be signed")?;
    write(run, "ca.crt", &certificate.pem())?;
    write(run, "ca.key", &key.serialize_pem())?;
    let ca = Issuer::new(params, key);

    let addresses = [
        "127.0.0.1".to_owned(),
        NODE_A.address.to_string(),
        API_SERVICE.to_string(),
        plan::lab_address(slot).to_string(),
    ];
    let names = API_SERVER_NAMES.iter().map(ToString::to_string).chain(addresses).collect();
    leaf(run, &ca, "apiserver", name("kube-apiserver", None), names)?;
    let clients = [
        ("admin", name("admin", Some("system:masters"))),
        ("controller-manager", name("system:kube-controller-manager", None)),
        ("scheduler", name("system:kube-scheduler", None)),
        ("proxy", name("system:kube-proxy", None)),
    ];
    for (user, subject) in clients {
        leaf(run, &ca, user, subject, Vec::new())?;
        kubeconfig(run, user)?;
    }
    for node in &NODES {
        let subject = name(&format!("system:node:{}", node.name), Some("system:nodes"));
        leaf(run, &ca, node.name, subject, vec![node.name.to_owned(), node.address.to_string()])?;
        kubeconfig(run, node.name)?;
    }
    let service_accounts =
        KeyPair::generate().context("the key for service accounts cannot be made")?;
    write(run, "service-accounts.key", &service_accounts.serialize_pem())?;
    write(run, "service-accounts.pub", &service_accounts.public_key_pem())
}

fn name(common_name: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common_name);
    name
}

fn leaf(
    run: &RunDirectory,
    ca: &Issuer<'_, KeyPair>,
    file: &str,
    subject: DistinguishedName,
    names: Vec<String>,
) -> Result<()> {
    let key = KeyPair::generate().with_context(|| format!("a key for {file} cannot be made"))?;
    let mut params = CertificateParams::new(names)
        .with_context(|| format!("a certificate for {file} cannot be made"))?;
    params.distinguished_name = subject;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params
        .signed_by(&key, ca)
        .with_context(|| format!("the certificate for {file} cannot be signed"))?;
    write(run, &format!("{file}.crt"), &certificate.pem())?;
    write(run, &format!("{file}.key"), &key.serialize_pem())
}

/// A kubeconfig for a daemon: it is inside the lab, so it takes the node's address.
fn kubeconfig(run: &RunDirectory, user: &str) -> Result<()> {
    let server = format!("https://{}:{}", NODE_A.address, plan::API_PORT);
    write_json(&run.pki(&format!("{user}.kubeconfig")), &config::kubeconfig(run, &server, user))
}

fn write(run: &RunDirectory, file: &str, text: &str) -> Result<()> {
    let path = run.pki(file);
    fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
}
